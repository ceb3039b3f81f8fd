// What a row of the latent cache looks like in memory (docs/numerics.md, "FP8 cache of
// latents"). Host, kernels and memory plans ask here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/ops.h"
#include "engine/runtime/host_device.h"

namespace dsl {

/// Latent values that share a scale in an FP8 cache. The last group may be shorter.
inline constexpr std::int64_t kLatentGroup = 128;
/// Exponents of scales: with them every code * scale is zero or a normal BF16 value.
inline constexpr int kSmallestScaleExponent = -117;
inline constexpr int kLargestScaleExponent = 119;

/// The scale of a group whose largest magnitude is finite and not 0, both as bits of float32: the
/// smallest 2^e with largest / 2^e <= 448, e clamped.
DSL_HOST_DEVICE constexpr std::uint32_t latent_scale_bits(std::uint32_t largest) {
  constexpr std::uint32_t kMantissaOfLargestCode = 0x600000;  // 448 is 1.75 * 2^8
  const int exponent = static_cast<int>(largest >> 23) - 127 - 8 +
                       ((largest & 0x7fffffu) > kMantissaOfLargestCode ? 1 : 0);
  const int clamped = exponent < kSmallestScaleExponent  ? kSmallestScaleExponent
                      : exponent > kLargestScaleExponent ? kLargestScaleExponent
                                                         : exponent;
  return static_cast<std::uint32_t>(clamped + 127) << 23;
}

/// Bytes of one row: latent, scales (FP8 only), roped key. Each part of an FP8 row begins at a
/// multiple of 16 bytes, and so does the next row.
struct LatentLayout {
  std::int64_t num_scales = 0;
  std::int64_t scales_at = 0;
  std::int64_t rope_at = 0;
  std::int64_t row_bytes = 0;
};

constexpr LatentLayout latent_layout(std::int64_t kv_lora_rank, std::int64_t rope_dim,
                                     DType dtype) {
  if (dtype != DType::kF8E4M3) {
    const std::int64_t size = dtype == DType::kF32 ? 4 : 2;
    return {0, kv_lora_rank * size, kv_lora_rank * size, (kv_lora_rank + rope_dim) * size};
  }
  LatentLayout layout;
  layout.num_scales = (kv_lora_rank + kLatentGroup - 1) / kLatentGroup;
  layout.scales_at = (kv_lora_rank + 15) / 16 * 16;
  layout.rope_at = layout.scales_at + (layout.num_scales * 4 + 15) / 16 * 16;
  layout.row_bytes = layout.rope_at + (rope_dim * 2 + 15) / 16 * 16;
  return layout;
}

constexpr LatentLayout latent_layout(const LatentCache& cache) {
  return latent_layout(cache.kv_lora_rank, cache.rope_dim, cache.dtype);
}

/// The dtype in which attention reads a row: FP8 rows decode to BF16 exactly.
constexpr DType read_dtype(const LatentCache& cache) {
  return cache.dtype == DType::kF8E4M3 ? DType::kBF16 : cache.dtype;
}

/// Writes one row of an FP8 cache.
void encode_latent_row(const LatentCache& cache, const BFloat16* latent, const BFloat16* rope_key,
                       std::byte* row);

/// [latent | key] of one row of an FP8 cache.
void decode_latent_row(const LatentCache& cache, const std::byte* row, BFloat16* values);

}  // namespace dsl
