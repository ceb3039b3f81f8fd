#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/instruction_rules.h"

namespace dsl::test::ptx {
namespace {

std::uint32_t permute(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | std::uint64_t{b} << 32;
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 15;
    auto byte = static_cast<std::uint32_t>(bytes >> 8 * (nibble & 7) & 0xff);
    if ((nibble & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
    result |= byte << 8 * i;
  }
  return result;
}

template <typename T>
T insert_bits(T value, T into, std::uint32_t position, std::uint32_t length) {
  position &= 0xff;
  length &= 0xff;
  if (position >= sizeof(T) * 8 || length == 0) return into;
  const T ones = length >= sizeof(T) * 8 ? ~T{0} : static_cast<T>((T{1} << length) - 1);
  const auto mask = static_cast<T>(ones << position);
  return static_cast<T>((into & ~mask) | (value << position & mask));
}
template <typename T>
void insert_bits_action(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  registers.assign<T>(places[0], lanes, [&](int lane) {
    return insert_bits(registers.get<T>(places[1], lane), registers.get<T>(places[2], lane),
                       registers.get<std::uint32_t>(places[3], lane),
                       registers.get<std::uint32_t>(places[4], lane));
  });
}

template <typename T>
void add_logic_of(Rules& rules, const std::string& type) {
  rules[fmt::format("and.{}", type)] = {compute2<T, [](T a, T b) { return a & b; }>, letters<T>(3)};
  rules[fmt::format("or.{}", type)] = {compute2<T, [](T a, T b) { return a | b; }>, letters<T>(3)};
  rules[fmt::format("xor.{}", type)] = {compute2<T, [](T a, T b) { return a ^ b; }>, letters<T>(3)};
  rules[fmt::format("not.{}", type)] = {compute1<T, T, [](T a) { return ~a; }>, letters<T>(2)};
  rules[fmt::format("shl.{}", type)] = {
      shift<T,
            [](T value, std::uint32_t distance) {
              return distance < 8 * sizeof(T) ? static_cast<T>(value << distance) : T{0};
            }>,
      fmt::format("{}4", letters<T>(2))};
}

template <typename T>
void add_moves(Rules& rules, std::initializer_list<const char*> types) {
  for (const char* type : types) {
    rules[fmt::format("mov.{}", type)] = {compute1<T, T, [](T a) { return a; }>, letters<T>(2)};
    rules[fmt::format("selp.{}", type)] = {select<T>, fmt::format("{}p", letters<T>(3))};
  }
}

}  // namespace

void add_bit_rules(Rules& rules) {
  add_logic_of<std::uint16_t>(rules, "b16");
  add_logic_of<std::uint32_t>(rules, "b32");
  add_logic_of<std::uint64_t>(rules, "b64");
  add_moves<std::uint16_t>(rules, {"b16", "u16", "s16"});
  add_moves<std::uint32_t>(rules, {"b32", "u32", "s32", "f32"});
  add_moves<std::uint64_t>(rules, {"b64", "u64", "s64", "f64"});
  rules["prmt.b32"] = {compute3<std::uint32_t, permute>, "4444"};
  rules["popc.b32"] = {
      compute1<std::uint32_t, std::uint32_t, [](std::uint32_t a) { return std::popcount(a); }>,
      "44"};
  rules["popc.b64"] = {
      compute1<std::uint32_t, std::uint64_t, [](std::uint64_t a) { return std::popcount(a); }>,
      "48"};
  rules["bfi.b32"] = {insert_bits_action<std::uint32_t>, "44444"};
  rules["bfi.b64"] = {insert_bits_action<std::uint64_t>, "88844"};
  rules["and.pred"] = {combine<[](LaneMask a, LaneMask b) { return a & b; }>, "ppp"};
  rules["or.pred"] = {combine<[](LaneMask a, LaneMask b) { return a | b; }>, "ppp"};
  rules["xor.pred"] = {combine<[](LaneMask a, LaneMask b) { return a ^ b; }>, "ppp"};
  rules["not.pred"] = {combine<[](LaneMask a) { return ~a; }>, "pp"};
  rules["mov.pred"] = {combine<[](LaneMask a) { return a; }>, "pp"};
}

}  // namespace dsl::test::ptx
