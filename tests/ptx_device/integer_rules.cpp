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

__extension__ using Wide = unsigned __int128;
__extension__ using SignedWide = __int128;

template <typename T>
T negate(T value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(std::make_unsigned_t<T>{0} - static_cast<std::make_unsigned_t<T>>(value));
  } else {
    return -value;
  }
}

/// By zero it is not said; all ones on today's devices.
template <typename T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return negate(a);
  }
  return static_cast<T>(a / b);
}

template <typename T>
void add_arithmetic_of(Rules& rules, const std::string& type) {
  using Unsigned = std::make_unsigned_t<T>;
  rules[fmt::format("add.{}", type)] = {compute2<Unsigned, [](auto a, auto b) { return a + b; }>,
                                        letters<T>(3)};
  rules[fmt::format("sub.{}", type)] = {compute2<Unsigned, [](auto a, auto b) { return a - b; }>,
                                        letters<T>(3)};
  rules[fmt::format("mul.lo.{}", type)] = {
      compute2<Unsigned, [](std::uint64_t a, std::uint64_t b) { return a * b; }>, letters<T>(3)};
  rules[fmt::format("mad.lo.{}", type)] = {
      compute3<Unsigned,
               [](std::uint64_t a, std::uint64_t b, std::uint64_t c) { return a * b + c; }>,
      letters<T>(4)};
  rules[fmt::format("mul.hi.{}", type)] = {
      compute2<T,
               [](auto a, auto b) {
                 using Product = std::conditional_t<std::is_signed_v<T>, SignedWide, Wide>;
                 return (static_cast<Product>(a) * b >> 8 * sizeof(T));
               }>,
      letters<T>(3)};
  rules[fmt::format("div.{}", type)] = {compute2<T, divide<T>>, letters<T>(3)};
  rules[fmt::format("rem.{}", type)] = {
      compute2<T,
               [](T a, T b) { return a - static_cast<Wide>(divide(a, b)) * static_cast<Wide>(b); }>,
      letters<T>(3)};
  rules[fmt::format("min.{}", type)] = {compute2<T, [](T a, T b) { return std::min(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("max.{}", type)] = {compute2<T, [](T a, T b) { return std::max(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("neg.{}", type)] = {compute1<T, T, [](T a) { return negate(a); }>,
                                        letters<T>(2)};
  // Clamped: further than the width is all the way.
  rules[fmt::format("shr.{}", type)] = {shift<T,
                                              [](T value, std::uint32_t distance) {
                                                constexpr std::uint32_t kBits = 8 * sizeof(T);
                                                if (distance < kBits)
                                                  return static_cast<T>(value >> distance);
                                                return static_cast<T>(value < 0 ? -1 : 0);
                                              }>,
                                        fmt::format("{}4", letters<T>(2))};
}

template <typename T, typename D>
void add_wide_rules(Rules& rules, const std::string& type) {
  const std::string sources = fmt::format("{}{}", letters<D>(1), letters<T>(2));
  rules[fmt::format("mul.wide.{}", type)] = {multiply_wide<D, T, false>, sources};
  rules[fmt::format("mad.wide.{}", type)] = {multiply_wide<D, T, true>,
                                             fmt::format("{}{}", sources, letters<D>(1))};
}

}  // namespace

void add_integer_rules(Rules& rules) {
  add_arithmetic_of<std::int16_t>(rules, "s16");
  add_arithmetic_of<std::uint16_t>(rules, "u16");
  add_arithmetic_of<std::int32_t>(rules, "s32");
  add_arithmetic_of<std::uint32_t>(rules, "u32");
  add_arithmetic_of<std::int64_t>(rules, "s64");
  add_arithmetic_of<std::uint64_t>(rules, "u64");
  add_wide_rules<std::int16_t, std::int32_t>(rules, "s16");
  add_wide_rules<std::uint16_t, std::uint32_t>(rules, "u16");
  add_wide_rules<std::int32_t, std::int64_t>(rules, "s32");
  add_wide_rules<std::uint32_t, std::uint64_t>(rules, "u32");
}

}  // namespace dsl::test::ptx
