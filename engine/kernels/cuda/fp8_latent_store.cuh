// Rows into an FP8 cache of latents (engine/kernels/latent_layout.h).
#pragma once

#include "engine/kernels/cuda/paged_latents.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"

namespace dsl::cuda {

/// Consecutive values of a lane.
inline constexpr int kLaneLatents = kLatentGroup / kWarpSize;

/// The scale of a group whose largest magnitude is this; infinity stands for all that is not
/// finite.
__device__ inline float latent_scale(float largest) {
  if (largest == 0) return 1.0f;
  if (!(largest < __builtin_inff())) return __builtin_nanf("");
  return __uint_as_float(latent_scale_bits(__float_as_uint(largest)));
}

/// Codes and the scale of a group of a row's latents, by a warp. `to`: the row in the cache.
__device__ inline void store_latent_group(const BFloat16* latents, std::int64_t group,
                                          std::int64_t rank, const LatentLayout& layout,
                                          unsigned char* to) {
  const std::int64_t first = group * kLatentGroup + lane_index() * kLaneLatents;
  float values[kLaneLatents] = {};
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kLaneLatents; ++i) {
    if (first + i >= rank) continue;
    values[i] = decode(latents[first + i]);
    const float magnitude = fabsf(values[i]);
    largest = fmaxf(largest, magnitude < __builtin_inff() ? magnitude : __builtin_inff());
  }
  largest = warp_max(largest);
  const float scale = latent_scale(largest);
  const bool is_finite = largest < __builtin_inff();
  if (lane_index() == 0) reinterpret_cast<float*>(to + layout.scales_at)[group] = scale;
#pragma unroll
  for (int i = 0; i < kLaneLatents; ++i) {
    if (first + i >= rank) continue;
    to[first + i] = is_finite ? encode<Float8E4M3>(values[i] / scale).bits : std::uint8_t{0};
  }
}

/// Grid: rows / kLatentWarps.
__global__ void store_fp8_latents_kernel(Matrix latent, Matrix rope_key, const std::int64_t* slots,
                                         LatentCache cache, LatentLayout layout) {
  take_turn();
  const std::int64_t row = std::int64_t{blockIdx.x} * kLatentWarps + warp_index();
  if (row >= latent.rows) return;
  const BFloat16* from = row_of<const BFloat16>(latent, row);
  auto* to = static_cast<unsigned char*>(cache.data) + slots[row] * layout.row_bytes;
  for (std::int64_t group = 0; group < layout.num_scales; ++group) {
    store_latent_group(from, group, cache.kv_lora_rank, layout, to);
  }
  const BFloat16* key = row_of<const BFloat16>(rope_key, row);
  auto* rope = reinterpret_cast<BFloat16*>(to + layout.rope_at);
  for (std::int64_t i = lane_index(); i < cache.rope_dim; i += kWarpSize) rope[i] = key[i];
}

}  // namespace dsl::cuda
