// What becomes of a step's new rows before attention.
#pragma once

#include <type_traits>

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/fp8_latent_store.cuh"
#include "engine/kernels/cuda/norm.cuh"

namespace dsl::cuda {

/// Non-owning.
struct NewRows {
  Matrix q;
  std::int64_t num_heads = 0;
  Matrix compressed_kv;  // [rows, kv_lora_rank + rope_dim]
  float eps = 0;
  const std::int32_t* positions = nullptr;
  const std::int64_t* slots = nullptr;
  RopeTable table;
  LatentCache cache;
  LatentLayout layout;  // of the cache
};

/// In the shared memory of a row's first block, where codes are made of them: its normed latents,
/// behind the norm's own.
inline std::size_t new_rows_shared_bytes(const LatentCache& cache) {
  const bool has_codes = cache.dtype == DType::kF8E4M3;
  return kNormSharedBytes +
         (has_codes ? static_cast<std::size_t>(cache.kv_lora_rank) * sizeof(BFloat16) : 0);
}

/// The first block of a row norms its latent and ropes and stores what is cached of it, latents as
/// L; others rope its queries, one thread a pair. Grid: 1 + num_heads * pairs / threads, rows.
template <typename X, typename W, typename L>
__global__ void rope_and_store_kernel(const __grid_constant__ NewRows call, const W* norm) {
  let_next_start();
  const std::int64_t rank = call.cache.kv_lora_rank;
  HeldGroups<W> weights;
  if (blockIdx.x == 0) {
    read_constants_early();
    weights = load_held_groups(norm, rank);
  }
  wait_for_turn();
  const std::int64_t position = call.positions[blockIdx.y];
  if (blockIdx.x > 0) {
    rope_head_pair<X>(call.q, blockIdx.y, call.num_heads,
                      (blockIdx.x - 1) * blockDim.x + threadIdx.x, position, call.table);
    return;
  }
  X* row = row_of<X>(call.compressed_kv, blockIdx.y);
  unsigned char* cached =
      static_cast<unsigned char*>(call.cache.data) + call.slots[blockIdx.y] * call.layout.row_bytes;
  X* cached_key = reinterpret_cast<X*>(cached + call.layout.rope_at);
  static_assert(kNormSharedBytes % (kGroupSize * sizeof(X)) == 0);  // groups are stored at once
  X* const normed_latents = reinterpret_cast<X*>(shared_bytes + kNormSharedBytes);
  const HeldGroups<X> held = load_held_groups<X>(row, rank);
  // From the last thread on, as the first ones have more of the latent.
  for (std::int64_t pair = kElementThreads - 1 - threadIdx.x; pair < call.table.rope_dim / 2;
       pair += kElementThreads) {
    const RopePair<X> rotated = rotated_pair(row + rank + 2 * pair, pair, position, call.table);
    store_pair(rotated, row + rank + 2 * pair);
    store_pair(rotated, cached_key + 2 * pair);
  }
  norm_row(held, row, weights, norm, rank, call.eps,
           [&](std::int64_t first, int count, const RawGroup<X>& normed) {
             normed.store(row + first, count);
             X* const to = std::is_same_v<L, X> ? reinterpret_cast<X*>(cached) : normed_latents;
             normed.store(to + first, count);
           });
  if constexpr (!std::is_same_v<L, X>) {
    __syncthreads();
    for (std::int64_t group = warp_index(); group < call.layout.num_scales;
         group += kElementThreads / kWarpSize) {
      store_latent_group(normed_latents, group, rank, call.layout, cached);
    }
  }
}

}  // namespace dsl::cuda
