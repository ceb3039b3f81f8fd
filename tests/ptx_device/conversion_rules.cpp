#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/instruction_rules.h"
#include "tests/ptx_device/operand_values.h"

namespace dsl::test::ptx {
namespace {

std::uint32_t round_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/// To the nearest multiple of the place of its third bit behind the point (of 2^-9 below 2^-6), of
/// two as near the even one; at most 448.
std::uint32_t round_to_e4m3(float value) {
  constexpr int kSmallestExponent = -6;
  if (std::isnan(value)) return 0x7f;
  const std::uint32_t sign = std::signbit(value) ? 0x80 : 0;
  const auto exponent_of = [&](float magnitude) {
    return magnitude == 0 ? kSmallestExponent : std::max(std::ilogb(magnitude), kSmallestExponent);
  };
  const auto eighths = [](float magnitude, int exponent) {
    return std::nearbyint(std::ldexp(magnitude, 3 - exponent));
  };
  const float magnitude = std::min(std::abs(value), 1024.0f);
  const int found = exponent_of(magnitude);
  const float rounded = std::min(std::ldexp(eighths(magnitude, found), found - 3), 448.0f);
  const int exponent = exponent_of(rounded);
  const auto steps = static_cast<std::uint32_t>(eighths(rounded, exponent));
  return sign | (static_cast<std::uint32_t>(exponent - kSmallestExponent) * 8 + steps);
}

/// Operands: a register of two codes or BF16, the upper one's value, the lower one's.
template <auto kRound, int kBits>
void round_pair(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<std::uint32_t>(places[0], lanes, [&](int lane) {
    return kRound(registers.get<float>(places[1], lane)) << kBits |
           kRound(registers.get<float>(places[2], lane));
  });
}

template <typename D, typename S>
void add_conversion(Rules& rules, const std::string& name) {
  rules[fmt::format("cvt.{}", name)] = {
      compute1<D, S, [](S value) { return static_cast<D>(value); }>,
      fmt::format("{}{}", letters<D>(1), letters<S>(1))};
}
/// To an integer, towards zero; what does not fit becomes the nearest that does, NaN zero.
template <typename D, typename S>
void add_truncation(Rules& rules, const std::string& name) {
  rules[fmt::format("cvt.rzi.{}", name)] = {compute1<D, S,
                                                     [](S value) {
                                                       using Limits = std::numeric_limits<D>;
                                                       if (std::isnan(value)) return D{0};
                                                       if (value >= static_cast<S>(Limits::max()))
                                                         return Limits::max();
                                                       if (value <= static_cast<S>(Limits::min()))
                                                         return Limits::min();
                                                       return static_cast<D>(value);
                                                     }>,
                                            fmt::format("{}{}", letters<D>(1), letters<S>(1))};
}

void add_integer_conversions(Rules& rules) {
  const auto from = [&]<typename S>(const std::string& source, S) {
    add_conversion<std::int16_t, S>(rules, fmt::format("s16.{}", source));
    add_conversion<std::uint16_t, S>(rules, fmt::format("u16.{}", source));
    add_conversion<std::int32_t, S>(rules, fmt::format("s32.{}", source));
    add_conversion<std::uint32_t, S>(rules, fmt::format("u32.{}", source));
    add_conversion<std::int64_t, S>(rules, fmt::format("s64.{}", source));
    add_conversion<std::uint64_t, S>(rules, fmt::format("u64.{}", source));
    add_conversion<float, S>(rules, fmt::format("rn.f32.{}", source));
    add_conversion<double, S>(rules, fmt::format("rn.f64.{}", source));
    add_truncation<S, float>(rules, fmt::format("{}.f32", source));
    add_truncation<S, double>(rules, fmt::format("{}.f64", source));
  };
  from("s8", std::int8_t{});
  from("u8", std::uint8_t{});
  from("s16", std::int16_t{});
  from("u16", std::uint16_t{});
  from("s32", std::int32_t{});
  from("u32", std::uint32_t{});
  from("s64", std::int64_t{});
  from("u64", std::uint64_t{});
}

void add_address_conversions(Rules& rules) {
  constexpr auto kSame = [](std::uint64_t address) { return address; };
  rules["cvta.to.global.u64"] =
      rules["cvta.global.u64"] = {compute1<std::uint64_t, std::uint64_t, kSame>, "88"};
  rules["cvta.shared.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return kSharedWindow + address; }>,
      "88"};
  rules["cvta.to.shared.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return address - kSharedWindow; }>,
      "88"};
  rules["cvta.local.u64"] = {compute1<std::uint64_t, std::uint64_t,
                                      [](std::uint64_t address) { return kLocalWindow + address; }>,
                             "88"};
  rules["cvta.to.local.u64"] = {
      compute1<std::uint64_t, std::uint64_t,
               [](std::uint64_t address) { return address - kLocalWindow; }>,
      "88"};
}

}  // namespace

void add_conversion_rules(Rules& rules) {
  add_integer_conversions(rules);
  add_address_conversions(rules);
  rules["cvt.sat.f32.f32"] = {
      compute1<float, float, [](float a) { return std::fmin(std::fmax(a, 0.0f), 1.0f); }>, "44"};
  rules["cvt.f64.f32"] = {compute1<double, float, [](float a) { return static_cast<double>(a); }>,
                          "84"};
  rules["cvt.rn.f32.f64"] = {
      compute1<float, double, [](double a) { return static_cast<float>(a); }>, "48"};
  rules["cvt.rn.bf16.f32"] = {compute1<std::uint16_t, float, round_to_bfloat16>, "44"};
  rules["cvt.rn.bf16x2.f32"] = {round_pair<round_to_bfloat16, 16>, "444"};
  rules["cvt.rn.satfinite.e4m3x2.f32"] = {round_pair<round_to_e4m3, 8>, "444"};
}

}  // namespace dsl::test::ptx
