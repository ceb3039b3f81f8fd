// Rows of the paged latent cache, as kernels read them: as they are, or as the BF16 values that the
// codes and scales of an FP8 cache stand for (engine/kernels/latent_layout.h).
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/latent_layout.h"

namespace dsl::cuda {

/// Rows of an FP8 cache that a block stores or decodes, one a warp.
inline constexpr int kLatentWarps = 4;
inline constexpr unsigned kLatentThreads = kLatentWarps * kWarpSize;

/// The cached rows of some sequences.
struct PagedLatents {
  LatentCache cache;
  const std::int32_t* block_tables = nullptr;
  LatentLayout layout;  // read of FP8 caches only

  __device__ std::int64_t slot(std::int64_t block_table, std::int64_t position) const {
    const std::int64_t block = block_tables[block_table + position / cache.block_tokens];
    return block * cache.block_tokens + position % cache.block_tokens;
  }
  /// Of a cache that is not FP8.
  template <typename X>
  __device__ const X* at(std::int64_t block_table, std::int64_t position) const {
    return static_cast<const X*>(cache.data) +
           slot(block_table, position) * (cache.kv_lora_rank + cache.rope_dim);
  }
};

/// A value of an FP8 row. The product is a BF16 value or NaN.
__device__ inline float decode_latent(Float8E4M3 code, float scale) { return decode(code) * scale; }

/// [latent | key] of one position.
template <typename X>
struct LatentRow {
  const X* values;

  __device__ LatentRow(const PagedLatents& latents, std::int64_t block_table, std::int64_t position)
      : values(latents.at<X>(block_table, position)) {}
  __device__ float latent(std::int64_t i) const { return decode(values[i]); }
  __device__ float key(std::int64_t rank, std::int64_t i) const { return decode(values[rank + i]); }
};

template <>
struct LatentRow<Float8E4M3> {
  const Float8E4M3* codes;
  const float* scales;
  const BFloat16* rope;

  __device__ LatentRow(const PagedLatents& latents, std::int64_t block_table,
                       std::int64_t position) {
    const auto* row = static_cast<const unsigned char*>(latents.cache.data) +
                      latents.slot(block_table, position) * latents.layout.row_bytes;
    codes = reinterpret_cast<const Float8E4M3*>(row);
    scales = reinterpret_cast<const float*>(row + latents.layout.scales_at);
    rope = reinterpret_cast<const BFloat16*>(row + latents.layout.rope_at);
  }
  __device__ float latent(std::int64_t i) const {
    return decode_latent(codes[i], scales[i / kLatentGroup]);
  }
  __device__ float key(std::int64_t, std::int64_t i) const { return decode(rope[i]); }
};

}  // namespace dsl::cuda
