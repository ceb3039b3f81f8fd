// Embedding and what works element by element.
#pragma once

#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/cuda/weight_row.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

inline constexpr int kElementThreads = 256;

/// One thread an element.
inline dim3 element_grid(std::int64_t cols, std::int64_t rows) {
  return {blocks_for(cols, kElementThreads), static_cast<unsigned>(rows), 1};
}

template <typename T>
__device__ T* row_of(const Matrix& matrix, std::int64_t row) {
  return static_cast<T*>(matrix.data) + row * matrix.row_stride;
}

/// Grid: cols / threads, rows.
template <typename W, typename Out>
__global__ void embed_kernel(const std::int32_t* token_ids, WeightView table,
                             std::int64_t first_token, Matrix out) {
  take_turn();
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= out.cols) return;
  const std::int64_t row = token_ids[blockIdx.y] - first_token;
  const bool is_here = row >= 0 && row < table.out_features;
  row_of<Out>(out, blockIdx.y)[col] =
      encode<Out>(is_here ? WeightRow<W>(table, row).at(col) : 0.0f);
}

/// Grid: cols / threads, rows.
template <typename X>
__global__ void add_kernel(Matrix residual, MatrixView<const float> update) {
  take_turn();
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= residual.cols) return;
  X& value = row_of<X>(residual, blockIdx.y)[col];
  value = encode<X>(decode(value) + update.data[blockIdx.y * update.row_stride + col]);
}

__device__ inline float silu(float value) { return value / (1.0f + expf(-value)); }

/// Grid: cols / threads, rows.
template <typename X>
__global__ void silu_mul_kernel(Matrix gate, Matrix up, Matrix out) {
  take_turn();
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= out.cols) return;
  row_of<X>(out, blockIdx.y)[col] = encode<X>(silu(decode(row_of<X>(gate, blockIdx.y)[col])) *
                                              decode(row_of<X>(up, blockIdx.y)[col]));
}

/// Two neighbours of a row that RoPE rotates.
template <typename X>
struct RopePair {
  X values[2];
};

/// Pair `pair` of the last rope_dim columns of head `head` of a row.
template <typename X>
__device__ X* rope_pair_of(X* row, std::int64_t head_dim, std::int64_t head, std::int64_t pair,
                           const RopeTable& table) {
  return row + (head + 1) * head_dim - table.rope_dim + 2 * pair;
}

/// The values of pair `pair` as they are at `position`.
template <typename X>
__device__ RopePair<X> rotated_pair(const X* values, std::int64_t pair, std::int64_t position,
                                    const RopeTable& table) {
  const std::int64_t at = position * (table.rope_dim / 2) + pair;
  const float a = decode(values[0]);
  const float b = decode(values[1]);
  const float cos = table.cos[at];
  const float sin = table.sin[at];
  return {{encode<X>(a * cos - b * sin), encode<X>(a * sin + b * cos)}};
}

template <typename X>
__device__ void store_pair(const RopePair<X>& pair, X* to) {
  to[0] = pair.values[0];
  to[1] = pair.values[1];
}

/// Rotates all pairs of a row's heads, one thread a pair; this thread has pair `i` of all.
template <typename X>
__device__ void rope_head_pair(const Matrix& x, std::int64_t row, std::int64_t num_heads,
                               std::uint32_t i, std::int64_t position, const RopeTable& table) {
  const auto pairs = static_cast<std::uint32_t>(table.rope_dim / 2);
  if (i >= num_heads * pairs) return;
  X* values = rope_pair_of(row_of<X>(x, row), x.cols / num_heads, i / pairs, i % pairs, table);
  store_pair(rotated_pair(values, i % pairs, position, table), values);
}

/// One thread a pair. Grid: num_heads * pairs / threads, rows.
template <typename X>
__global__ void rope_kernel(Matrix x, std::int64_t num_heads, const std::int32_t* positions,
                            RopeTable table) {
  take_turn();
  rope_head_pair<X>(x, blockIdx.y, num_heads, blockIdx.x * blockDim.x + threadIdx.x,
                    positions[blockIdx.y], table);
}

/// Grid: cache row width / threads, rows.
template <typename X>
__global__ void store_latents_kernel(Matrix latent, Matrix rope_key, const std::int64_t* slots,
                                     LatentCache cache) {
  take_turn();
  const std::int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= width) return;
  static_cast<X*>(cache.data)[slots[blockIdx.y] * width + col] =
      col < cache.kv_lora_rank ? row_of<X>(latent, blockIdx.y)[col]
                               : row_of<X>(rope_key, blockIdx.y)[col - cache.kv_lora_rank];
}

}  // namespace dsl::cuda
