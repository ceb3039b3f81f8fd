// What the attention kernels on tensor cores share: the sizes they are compiled for, and tiles of
// BF16 in shared memory.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/mma.cuh"

namespace dsl::cuda {

/// Sizes of MLA heads; all multiples of 16.
template <int kNopeDim, int kRopeDim, int kValueDim, int kLatentRank>
struct MlaDims {
  static constexpr int kNope = kNopeDim;
  static constexpr int kRope = kRopeDim;
  static constexpr int kValue = kValueDim;
  static constexpr int kRank = kLatentRank;
  static constexpr int kCacheRow = kRank + kRope;
  static constexpr int kQuery = kNope + kRope;
  static constexpr int kHeadFeatures = kNope + kValue;  // of kv_b
};

/// Elements of a copy, and the side of the matrices that load_matrices() takes.
inline constexpr int kChunk = 8;
inline constexpr int kMmaRows = 16;

/// Columns of a tile's rows in shared memory. An odd number of chunks puts eight rows below each
/// other into all 32 banks, so that load_matrices() has no conflicts.
template <int kCols>
inline constexpr int kTileStride = kCols + kChunk;

__device__ inline bool is_chunk_aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

/// A pair of BF16 wherever it stands.
__device__ inline std::uint32_t load_pair(const BFloat16* from) {
  if (reinterpret_cast<std::uintptr_t>(from) % 4 == 0) {
    return *reinterpret_cast<const std::uint32_t*>(from);
  }
  return from[0].bits | static_cast<std::uint32_t>(from[1].bits) << 16;
}

__device__ inline void store_pair(BFloat16* to, std::uint32_t pair) {
  if (reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
    *reinterpret_cast<std::uint32_t*>(to) = pair;
    return;
  }
  to[0].bits = static_cast<std::uint16_t>(pair);
  to[1].bits = static_cast<std::uint16_t>(pair >> 16);
}

/// Four words of a chunk in shared memory.
__device__ inline void store_chunk(BFloat16* shared, const std::uint32_t (&words)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) reinterpret_cast<std::uint32_t*>(shared)[i] = words[i];
}

/// A chunk to shared memory, by an asynchronous copy where the address allows it.
__device__ inline void stage_chunk(BFloat16* shared, const BFloat16* from) {
  if (is_chunk_aligned(from)) return copy_async(shared, from, 16);
  const std::uint32_t words[4] = {load_pair(from), load_pair(from + 2), load_pair(from + 4),
                                  load_pair(from + 6)};
  store_chunk(shared, words);
}

__device__ inline void clear_chunk(BFloat16* shared) { store_chunk(shared, {}); }

/// The left operand of a product: rows [0, 16) and columns [0, 16) of a tile.
__device__ inline void load_left(std::uint32_t (&a)[4], const BFloat16* tile, int stride) {
  load_matrices<false>(a, tile + lane_index() % 16 * stride + lane_index() / 16 * kChunk);
}

/// Right operands of two products, from a tile whose rows are the products' columns: b[0] and b[1]
/// of the first eight, then of the next eight.
__device__ inline void load_right_rows(std::uint32_t (&b)[4], const BFloat16* tile, int stride) {
  const int lane = lane_index();
  load_matrices<false>(b, tile + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * kChunk);
}

/// The same from a tile whose columns are the products' columns.
__device__ inline void load_right_cols(std::uint32_t (&b)[4], const BFloat16* tile, int stride) {
  load_matrices<true>(b, tile + lane_index() % 16 * stride + lane_index() / 16 * kChunk);
}

/// Two products side by side.
__device__ inline void multiply_two(float (&left)[4], float (&right)[4],
                                    const std::uint32_t (&a)[4], const std::uint32_t (&b)[4]) {
  const std::uint32_t first[2] = {b[0], b[1]};
  const std::uint32_t second[2] = {b[2], b[3]};
  mma_m16n8k16(left, a, first);
  mma_m16n8k16(right, a, second);
}

/// Sum, or largest, over the four lanes that hold a row of a product; all of them get it.
__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

/// Where no key is.
__device__ inline float no_score() { return __uint_as_float(0xff800000u); }

/// Which row of the cache holds a position.
__device__ inline std::int64_t slot_of(const PagedLatents& latents, std::int64_t block_table,
                                       std::int64_t position) {
  // Positions fit 32 bits, whose division is much cheaper.
  const auto at = static_cast<std::uint32_t>(position);
  const auto block_tokens = static_cast<std::uint32_t>(latents.cache.block_tokens);
  const std::int64_t block = latents.block_tables[block_table + at / block_tokens];
  return block * block_tokens + at % block_tokens;
}

}  // namespace dsl::cuda
