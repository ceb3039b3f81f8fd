// Element types of checkpoints and activations, with exact scalar conversions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "transport/base/error.h"

namespace dsl {

enum class DType : std::uint8_t {
  kF32,
  kBF16,
  kF16,
  kF8E4M3,
  kF8E8M0,
  kI8,
  kI32,
  kI64,
  kU8,
  kBool
};

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// The safetensors name: "F32", "BF16", "F8_E4M3", ...
std::string_view name_of(DType dtype);
/// The inverse of name_of; an unknown name is kCheckpointCorrupt.
Result<DType> parse_dtype(std::string_view name);

/// Storage types: the bits of a value, so that a pointer states what it points to.
struct BFloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};
struct Float8E4M3 {
  std::uint8_t bits;
};
struct Float8E8M0 {
  std::uint8_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}
float to_float(Float16 value);
float to_float(Float8E4M3 value);
/// 2^(bits - 127); 0xFF is NaN.
float to_float(Float8E8M0 value);

/// Rounds to nearest even; NaN stays NaN.
inline BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
Float16 to_float16(float value);
/// Rounds to nearest even and saturates at ±448; NaN stays NaN.
Float8E4M3 to_float8_e4m3(float value);

}  // namespace dsl
