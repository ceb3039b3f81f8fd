#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "tests/ptx_device/arithmetic.h"
#include "tests/ptx_device/instruction_rules.h"

namespace dsl::test::ptx {
namespace {

/// a b + c, rounded down.
float fused_rounded_down(float a, float b, float c) {
  // The product is exact, and so are sum and lost together (Knuth's two-sum).
  const double product = static_cast<double>(a) * b;
  const double sum = product + c;
  const double of_product = sum - c;
  const double lost = (product - of_product) + (c - (sum - of_product));
  const auto nearest = static_cast<float>(sum);
  const bool is_above = nearest > sum || (nearest == sum && lost < 0);
  return is_above ? std::nextafter(nearest, -std::numeric_limits<float>::infinity()) : nearest;
}

/// Positive and normal, as the approximations with .ftz take and give their values.
float flushed(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

/// The multiplication of BF16 pairs with a sum, each rounded once.
std::uint32_t fused_pairs(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (unsigned half = 0; half < 2; ++half) {
    const auto value = [&](std::uint32_t pair) {
      return static_cast<double>(std::bit_cast<float>((pair >> 16 * half & 0xffff) << 16));
    };
    // The product is exact in double; of a sum, what double loses lies below BF16's last bit, but
    // for ties that the kernels' addend of zero does not make.
    const double sum = value(a) * value(b) + value(c);
    auto bits = std::bit_cast<std::uint64_t>(sum);
    const double magnitude = std::abs(sum);
    std::uint32_t rounded;
    if (std::isnan(sum)) {
      rounded = 0x7fff;
    } else {
      // To a multiple of the last place of BF16, at least the smallest subnormal.
      const int exponent = std::max(magnitude == 0 ? -126 : std::ilogb(magnitude), -126);
      const double step = std::ldexp(1.0, exponent - 7);
      const double nearest = std::isinf(sum) ? sum : std::nearbyint(sum / step) * step;
      rounded = std::bit_cast<std::uint32_t>(static_cast<float>(nearest)) >> 16;
      if ((bits >> 63) != 0) rounded |= 0x8000;
    }
    result |= (rounded & 0xffff) << 16 * half;
  }
  return result;
}

template <typename T>
void add_float_arithmetic_of(Rules& rules, const std::string& type) {
  for (const std::string rounding : {"", ".rn"}) {
    rules[fmt::format("add{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a + b; }>,
                                                      letters<T>(3)};
    rules[fmt::format("sub{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a - b; }>,
                                                      letters<T>(3)};
    rules[fmt::format("mul{}.{}", rounding, type)] = {compute2<T, [](T a, T b) { return a * b; }>,
                                                      letters<T>(3)};
  }
  rules[fmt::format("div.rn.{}", type)] = {compute2<T, [](T a, T b) { return a / b; }>,
                                           letters<T>(3)};
  rules[fmt::format("fma.rn.{}", type)] = {
      compute3<T, [](T a, T b, T c) { return std::fma(a, b, c); }>, letters<T>(4)};
  rules[fmt::format("sqrt.rn.{}", type)] = {compute1<T, T, [](T a) { return std::sqrt(a); }>,
                                            letters<T>(2)};
  rules[fmt::format("rcp.rn.{}", type)] = {compute1<T, T, [](T a) { return 1 / a; }>,
                                           letters<T>(2)};
  rules[fmt::format("neg.{}", type)] = {compute1<T, T, [](T a) { return -a; }>, letters<T>(2)};
  rules[fmt::format("abs.{}", type)] = {compute1<T, T, [](T a) { return std::abs(a); }>,
                                        letters<T>(2)};
  // Of a number and a NaN: the number.
  rules[fmt::format("min.{}", type)] = {compute2<T, [](T a, T b) { return std::fmin(a, b); }>,
                                        letters<T>(3)};
  rules[fmt::format("max.{}", type)] = {compute2<T, [](T a, T b) { return std::fmax(a, b); }>,
                                        letters<T>(3)};
}

}  // namespace

void add_floating_rules(Rules& rules) {
  add_float_arithmetic_of<float>(rules, "f32");
  add_float_arithmetic_of<double>(rules, "f64");
  rules["fma.rm.f32"] = {compute3<float, fused_rounded_down>, "4444"};
  rules["fma.rn.bf16x2"] = {compute3<std::uint32_t, fused_pairs>, "4444"};
  rules["ex2.approx.ftz.f32"] = {
      compute1<float, float, [](float a) { return flushed(std::exp2(flushed(a))); }>, "44"};
  rules["ex2.approx.f32"] = {compute1<float, float, [](float a) { return std::exp2(a); }>, "44"};
  // The upper half of a double, of which the lower is zero.
  rules["rcp.approx.ftz.f64"] = {
      compute1<double, double,
               [](double a) {
                 return std::bit_cast<double>(std::bit_cast<std::uint64_t>(1 / a) &
                                              ~std::uint64_t{0xffffffff});
               }>,
      "88"};
}

}  // namespace dsl::test::ptx
