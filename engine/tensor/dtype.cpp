#include "engine/tensor/dtype.h"

#include <array>

namespace dsl {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t size;
};

constexpr std::array<DTypeInfo, 10> kDTypes = {{{DType::kF32, "F32", 4},
                                                {DType::kBF16, "BF16", 2},
                                                {DType::kF16, "F16", 2},
                                                {DType::kF8E4M3, "F8_E4M3", 1},
                                                {DType::kF8E8M0, "F8_E8M0", 1},
                                                {DType::kI8, "I8", 1},
                                                {DType::kI32, "I32", 4},
                                                {DType::kI64, "I64", 8},
                                                {DType::kU8, "U8", 1},
                                                {DType::kBool, "BOOL", 1}}};

const DTypeInfo& info_of(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  DSL_CHECK(index < kDTypes.size(), "dtype {}", index);
  return kDTypes[index];
}

constexpr std::uint32_t kSignMask = 0x80000000u;
constexpr std::uint32_t kInfinityBits = 0x7f800000u;

/// Magnitude of a float as a code with `kMantissa` bits of fraction and exponent bias `kBias`,
/// rounded to nearest even. The caller has excluded NaN and magnitudes that overflow.
template <int kMantissa, int kBias>
std::uint32_t narrow_magnitude(std::uint32_t magnitude) {
  constexpr int kShift = 23 - kMantissa;
  constexpr std::uint32_t kMinNormal = std::uint32_t{127 - kBias + 1} << 23;
  if (magnitude < kMinNormal) {
    // Adding 2^e, whose last place is the narrow type's smallest step, makes the hardware round to
    // that step.
    constexpr std::uint32_t kStepAnchor = std::uint32_t{127 + 23 - (kBias - 1 + kMantissa)} << 23;
    const float sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(kStepAnchor);
    return std::bit_cast<std::uint32_t>(sum) - kStepAnchor;
  }
  const std::uint32_t half = (1u << (kShift - 1)) - 1u + ((magnitude >> kShift) & 1u);
  return ((magnitude + half) >> kShift) - (std::uint32_t{127 - kBias} << kMantissa);
}

/// The float of a magnitude code of a narrow type without its special codes.
template <int kMantissa, int kBias>
float widen_magnitude(std::uint32_t code) {
  constexpr int kShift = 23 - kMantissa;
  if (code < (1u << kMantissa)) {
    constexpr std::uint32_t kStep = std::uint32_t{127 - (kBias - 1 + kMantissa)} << 23;
    return static_cast<float>(code) * std::bit_cast<float>(kStep);
  }
  return std::bit_cast<float>((code << kShift) + (std::uint32_t{127 - kBias} << 23));
}

float with_sign(float magnitude, std::uint32_t sign_bit) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign_bit);
}

}  // namespace

std::size_t size_of(DType dtype) { return info_of(dtype).size; }
std::string_view name_of(DType dtype) { return info_of(dtype).name; }

Result<DType> parse_dtype(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  return fail(ErrorCode::kCheckpointCorrupt,
              "use a checkpoint with F32, BF16, F16 or F8_E4M3 weights",
              "dtype of a tensor: expected a known safetensors name, found '{}'", name);
}

float to_float(Float16 value) {
  const std::uint32_t sign = std::uint32_t{value.bits} >> 15 << 31;
  const std::uint32_t code = value.bits & 0x7fffu;
  if (code >= 0x7c00u) return with_sign(std::bit_cast<float>(kInfinityBits | (code << 13)), sign);
  return with_sign(widen_magnitude<10, 15>(code), sign);
}

float to_float(Float8E4M3 value) {
  const std::uint32_t sign = std::uint32_t{value.bits} >> 7 << 31;
  const std::uint32_t code = value.bits & 0x7fu;
  if (code == 0x7fu) return with_sign(std::bit_cast<float>(0x7fc00000u), sign);
  return with_sign(widen_magnitude<3, 7>(code), sign);
}

float to_float(Float8E8M0 value) {
  if (value.bits == 0xffu) return std::bit_cast<float>(0x7fc00000u);
  if (value.bits == 0) return std::bit_cast<float>(0x00400000u);  // 2^-127 is subnormal
  return std::bit_cast<float>(std::uint32_t{value.bits} << 23);
}

Float16 to_float16(float value) {
  constexpr std::uint32_t kOverflow = 0x477ff000u;  // 65520, half way to 2^16
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits & kSignMask) >> 16;
  const std::uint32_t magnitude = bits & ~kSignMask;
  std::uint32_t code = 0x7c00u;
  if (magnitude > kInfinityBits) {
    code = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude < kOverflow) {
    code = narrow_magnitude<10, 15>(magnitude);
  }
  return {static_cast<std::uint16_t>(sign | code)};
}

Float8E4M3 to_float8_e4m3(float value) {
  constexpr std::uint32_t kLargest = 0x43e00000u;  // 448
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits & kSignMask) >> 24;
  const std::uint32_t magnitude = bits & ~kSignMask;
  std::uint32_t code = 0x7eu;
  if (magnitude > kInfinityBits) {
    code = 0x7fu;
  } else if (magnitude < kLargest) {
    code = narrow_magnitude<3, 7>(magnitude);
  }
  return {static_cast<std::uint8_t>(sign | code)};
}

}  // namespace dsl
