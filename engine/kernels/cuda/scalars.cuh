// Conversions of stored elements on the device, with the meaning of engine/tensor/dtype.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace dsl::cuda {

__device__ inline float decode(float value) { return value; }

__device__ inline float decode(BFloat16 value) {
  return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16);
}

/// The exponent moves from bias 15 to 127 by a multiplication, which also normalises subnormals.
__device__ inline float decode(Float16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fffu) << 13;
  const bool is_special = (value.bits & 0x7c00u) == 0x7c00u;
  const float scaled = __uint_as_float(magnitude) * 0x1p112f;
  const float special = __uint_as_float(magnitude | 0x7f800000u);
  return __uint_as_float(sign | __float_as_uint(is_special ? special : scaled));
}

/// As Float16, from bias 7. There are no infinities; only 0x7f and 0xff are NaN.
__device__ inline float decode(Float8E4M3 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x80u) << 24;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fu) << 20;
  const float scaled = __uint_as_float(magnitude) * 0x1p120f;
  const std::uint32_t bits = (value.bits & 0x7fu) == 0x7fu ? 0x7fc00000u : __float_as_uint(scaled);
  return __uint_as_float(sign | bits);
}

__device__ inline float decode(Float8E8M0 value) {
  if (value.bits == 0xffu) return __uint_as_float(0x7fc00000u);
  // 2^-127 is subnormal.
  return value.bits == 0 ? 0x1p-127f
                         : __uint_as_float(static_cast<std::uint32_t>(value.bits) << 23);
}

template <typename T>
__device__ T encode(float value);

template <>
__device__ inline float encode<float>(float value) {
  return value;
}

/// Rounds to nearest even; NaN stays NaN.
template <>
__device__ inline BFloat16 encode<BFloat16>(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

/// Rounds to nearest even and saturates at 448; NaN stays NaN.
template <>
__device__ inline Float8E4M3 encode<Float8E4M3>(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  const std::uint32_t sign = bits >> 24 & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint8_t>(sign | 0x7fu)};
  constexpr std::uint32_t kSmallestNormal = 0x3c800000u;  // 2^-6
  if (magnitude < kSmallestNormal) {
    // Floats of the size of 1.5 * 2^14 are a subnormal code's 2^-9 apart.
    const float steps = (__uint_as_float(magnitude) + 0x1.8p14f) - 0x1.8p14f;
    return {static_cast<std::uint8_t>(sign | static_cast<std::uint32_t>(steps * 0x1p9f))};
  }
  // The exponent moves from bias 127 to 7.
  const std::uint32_t rounded =
      ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - ((127u - 7u) << 3);
  constexpr std::uint32_t kLargest = 0x7eu;
  return {static_cast<std::uint8_t>(sign | (rounded < kLargest ? rounded : kLargest))};
}

/// Codes of E4M3 as encode() makes them, of values that are not NaN; the first in the lower byte.
__device__ inline std::uint16_t encode_pair(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  std::uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(second), "f"(first));
  return codes;
#else
  return static_cast<std::uint16_t>(encode<Float8E4M3>(first).bits | encode<Float8E4M3>(second).bits
                                                                         << 8);
#endif
}

/// As it will be read back after it was stored as T.
template <typename T>
__device__ float rounded(float value) {
  return decode(encode<T>(value));
}

/// Bits in the order of the values, -0 like 0; no value but NaN has zero.
__device__ inline std::uint32_t ordered_bits(float value) {
  const std::uint32_t bits = __float_as_uint(value == 0 ? 0.0f : value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/// Two floats behind each other, the first at a multiple of 8 bytes, which a lane moves at once.
struct alignas(2 * sizeof(float)) FloatPair {
  float values[2];
};

/// Consecutive elements that a lane takes at once: 16 bytes of BF16.
inline constexpr int kGroupSize = 8;

/// Elements [0, count) of `from`, count <= kGroupSize; `values` behind them stays as it is. Wide
/// loads where the address allows them.
template <typename T>
__device__ void load_group(const T* from, int count, float (&values)[kGroupSize]) {
  constexpr int kBytes = kGroupSize * static_cast<int>(sizeof(T));
  constexpr int kWide = kBytes < 16 ? kBytes : 16;
  if (count == kGroupSize && reinterpret_cast<std::uintptr_t>(from) % kWide == 0) {
    struct alignas(kWide) Wide {
      T elements[kWide / sizeof(T)];
    };
    const Wide* wide = reinterpret_cast<const Wide*>(from);
#pragma unroll
    for (int i = 0; i < kBytes / kWide; ++i) {
      const Wide loaded = wide[i];
#pragma unroll
      for (int j = 0; j < static_cast<int>(kWide / sizeof(T)); ++j) {
        values[i * static_cast<int>(kWide / sizeof(T)) + j] = decode(loaded.elements[j]);
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kGroupSize; ++i) {
    if (i < count) values[i] = decode(from[i]);
  }
}

}  // namespace dsl::cuda
