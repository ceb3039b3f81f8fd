// What the bits of tensor cores' operands stand for.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace dsl::test::ptx {

inline float value_of_bfloat16(std::uint32_t bits) { return std::bit_cast<float>(bits << 16); }

/// One bit of sign, four of exponent (bias 7), three of mantissa; no infinities.
inline float value_of_e4m3(std::uint32_t bits) {
  const auto exponent = static_cast<int>(bits >> 3 & 15);
  const auto mantissa = static_cast<int>(bits & 7);
  float value = 0;
  if (exponent == 15 && mantissa == 7) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), -9);
  } else {
    value = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }
  return (bits & 0x80) != 0 ? -value : value;
}

}  // namespace dsl::test::ptx
