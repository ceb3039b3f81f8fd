// Rows out of an FP8 cache of latents, for kernels that read BF16 alone.
#pragma once

#include "engine/kernels/cuda/paged_latents.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"

namespace dsl::cuda {

/// rows[position] = [latent | key] of positions [0, num_positions) of the first sequence, and the
/// block table with which such rows are a cache of one block. Grid: positions / kLatentWarps.
__global__ void decode_latents_kernel(PagedLatents latents, std::int64_t num_positions,
                                      std::int32_t* block_table, BFloat16* rows) {
  take_turn();
  if (blockIdx.x == 0 && threadIdx.x == 0) *block_table = 0;
  const std::int64_t position = std::int64_t{blockIdx.x} * kLatentWarps + warp_index();
  if (position >= num_positions) return;
  const LatentRow<Float8E4M3> row(latents, 0, position);
  const std::int64_t rank = latents.cache.kv_lora_rank;
  const std::int64_t width = rank + latents.cache.rope_dim;
  BFloat16* to = rows + position * width;
  for (std::int64_t i = lane_index(); i < width; i += kWarpSize) {
    to[i] = encode<BFloat16>(i < rank ? row.latent(i) : row.key(rank, i - rank));
  }
}

}  // namespace dsl::cuda
