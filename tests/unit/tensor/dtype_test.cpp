// Every code of the narrow types, and rounding against a search over all representable values.
#include "engine/tensor/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace dsl {
namespace {

/// Value of a code from the definition of the format, in double arithmetic.
double value_by_definition(std::uint32_t code, int exponent_bits, int mantissa_bits, int bias) {
  const std::uint32_t fraction = code & ((1u << mantissa_bits) - 1u);
  const auto exponent = static_cast<int>((code >> mantissa_bits) & ((1u << exponent_bits) - 1u));
  const bool negative = (code >> (mantissa_bits + exponent_bits)) & 1u;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa_bits)
                    : std::ldexp((1u << mantissa_bits) + fraction, exponent - bias - mantissa_bits);
  return negative ? -magnitude : magnitude;
}

/// The non-negative finite values of a format in code order; `limit` is the first code that is no
/// finite value.
std::vector<double> finite_values(std::uint32_t limit, int exponent_bits, int mantissa_bits,
                                  int bias) {
  std::vector<double> values;
  for (std::uint32_t code = 0; code < limit; ++code) {
    values.push_back(value_by_definition(code, exponent_bits, mantissa_bits, bias));
  }
  return values;
}

/// Nearest code by search; ties go to the even code. Beyond the last value the caller decides.
std::uint32_t nearest_code(const std::vector<double>& values, double magnitude) {
  const auto above = std::lower_bound(values.begin(), values.end(), magnitude);
  if (above == values.end()) return static_cast<std::uint32_t>(values.size() - 1);
  const auto high = static_cast<std::uint32_t>(above - values.begin());
  if (*above == magnitude || high == 0) return high;
  const std::uint32_t low = high - 1;
  const double to_low = magnitude - values[low];
  const double to_high = values[high] - magnitude;
  if (to_low != to_high) return to_low < to_high ? low : high;
  return low % 2 == 0 ? low : high;
}

/// Floats that matter: neighbours of every value and of every midpoint, and random bit patterns.
std::vector<float> probes(const std::vector<double>& values) {
  std::vector<float> result;
  const auto add_around = [&](double exact) {
    const auto centre = static_cast<float>(exact);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float probe :
         {centre, std::nextafter(centre, 0.0f), std::nextafter(centre, infinity)}) {
      result.push_back(probe);
      result.push_back(-probe);
    }
  };
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    add_around(values[i]);
    add_around((values[i] + values[i + 1]) / 2);
  }
  add_around(values.back());
  std::mt19937 random(20240517);
  for (int i = 0; i < 1'000'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(value)) result.push_back(value);
  }
  return result;
}

TEST(DTypeTest, NamesAndSizesRoundTrip) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kF8E8M0,
                            DType::kI8, DType::kI32, DType::kI64, DType::kU8, DType::kBool}) {
    const Result<DType> parsed = parse_dtype(name_of(dtype));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(*parsed, dtype);
    EXPECT_GT(size_of(dtype), 0u);
  }
  EXPECT_EQ(name_of(DType::kF8E4M3), "F8_E4M3");
}

TEST(DTypeTest, UnknownNameIsACorruptCheckpoint) {
  const Result<DType> parsed = parse_dtype("F4_E2M1");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code, ErrorCode::kCheckpointCorrupt);
  EXPECT_NE(parsed.error().message.find("F4_E2M1"), std::string::npos);
}

TEST(DTypeTest, EveryFloat8E4M3CodeHasItsDefinedValue) {
  for (std::uint32_t code = 0; code < 256; ++code) {
    const float value = to_float(Float8E4M3{static_cast<std::uint8_t>(code)});
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(static_cast<double>(value), value_by_definition(code, 4, 3, 7)) << code;
    EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
    EXPECT_EQ(to_float8_e4m3(value).bits, code);
  }
}

TEST(DTypeTest, EveryFloat8E8M0CodeIsAPowerOfTwo) {
  for (int code = 0; code < 255; ++code) {
    EXPECT_EQ(static_cast<double>(to_float(Float8E8M0{static_cast<std::uint8_t>(code)})),
              std::ldexp(1.0, code - 127));
  }
  EXPECT_TRUE(std::isnan(to_float(Float8E8M0{0xff})));
}

TEST(DTypeTest, EveryFloat16CodeHasItsDefinedValue) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const float value = to_float(Float16{static_cast<std::uint16_t>(code)});
    if ((code & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    if ((code & 0x7fff) == 0x7c00) {
      EXPECT_TRUE(std::isinf(value)) << code;
    } else {
      ASSERT_EQ(static_cast<double>(value), value_by_definition(code, 5, 10, 15)) << code;
    }
    ASSERT_EQ(std::signbit(value), code >= 0x8000) << code;
    ASSERT_EQ(to_float16(value).bits, code);
  }
}

TEST(DTypeTest, EveryBFloat16CodeHasItsDefinedValue) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const BFloat16 stored{static_cast<std::uint16_t>(code)};
    const float value = to_float(stored);
    if ((code & 0x7fff) > 0x7f80) {
      EXPECT_TRUE(std::isnan(value)) << code;
      EXPECT_TRUE(std::isnan(to_float(to_bfloat16(value)))) << code;
      continue;
    }
    if ((code & 0x7fff) != 0x7f80) {
      ASSERT_EQ(static_cast<double>(value), value_by_definition(code, 8, 7, 127)) << code;
    }
    ASSERT_EQ(to_bfloat16(value).bits, code);
  }
}

TEST(DTypeTest, Float8E4M3RoundsToNearestEvenAndSaturates) {
  const std::vector<double> values = finite_values(0x7f, 4, 3, 7);
  for (const float probe : probes(values)) {
    const std::uint32_t expected = nearest_code(values, std::fabs(static_cast<double>(probe))) |
                                   (std::signbit(probe) ? 0x80u : 0u);
    ASSERT_EQ(to_float8_e4m3(probe).bits, expected) << probe;
  }
  EXPECT_EQ(to_float8_e4m3(std::numeric_limits<float>::infinity()).bits, 0x7e);
  EXPECT_EQ(to_float8_e4m3(std::numeric_limits<float>::quiet_NaN()).bits & 0x7f, 0x7f);
}

TEST(DTypeTest, Float16RoundsToNearestEvenAndOverflowsToInfinity) {
  // One value past the largest finite one stands for infinity: ties with it round up to it.
  const std::vector<double> values = finite_values(0x7c01, 5, 10, 15);
  for (const float probe : probes(values)) {
    const std::uint32_t expected = nearest_code(values, std::fabs(static_cast<double>(probe))) |
                                   (std::signbit(probe) ? 0x8000u : 0u);
    ASSERT_EQ(to_float16(probe).bits, expected) << probe;
  }
  EXPECT_TRUE(std::isnan(to_float(to_float16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(DTypeTest, BFloat16RoundsToNearestEven) {
  const std::vector<double> values = finite_values(0x7f81, 8, 7, 127);
  for (const float probe : probes(values)) {
    const std::uint32_t expected = nearest_code(values, std::fabs(static_cast<double>(probe))) |
                                   (std::signbit(probe) ? 0x8000u : 0u);
    ASSERT_EQ(to_bfloat16(probe).bits, expected) << probe;
  }
}

}  // namespace
}  // namespace dsl
