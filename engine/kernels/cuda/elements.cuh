// Embedding, norm and what works element by element.
#pragma once

#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/cuda/weight_row.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

inline constexpr int kElementThreads = 256;

/// One thread an element.
inline dim3 element_grid(std::int64_t cols, std::int64_t rows) {
  return {blocks_for(cols, kElementThreads), static_cast<unsigned>(rows), 1};
}

template <typename T>
__device__ T* row_of(const Matrix& matrix, std::int64_t row) {
  return static_cast<T*>(matrix.data) + row * matrix.row_stride;
}

template <typename W>
__global__ void decode_kernel(const W* values, std::int64_t size, float* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) out[i] = decode(values[i]);
}

/// Grid: cols / threads, rows.
template <typename W, typename Out>
__global__ void embed_kernel(const std::int32_t* token_ids, WeightView table,
                             std::int64_t first_token, Matrix out) {
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= out.cols) return;
  const std::int64_t row = token_ids[blockIdx.y] - first_token;
  const bool is_here = row >= 0 && row < table.out_features;
  row_of<Out>(out, blockIdx.y)[col] =
      encode<Out>(is_here ? WeightRow<W>(table, row).at(col) : 0.0f);
}

/// One warp a row, so that no sum depends on the number of threads. Grid: rows.
template <typename X, typename W>
__global__ void rms_norm_kernel(Matrix x, const W* weight, float eps, Matrix out) {
  const X* from = row_of<X>(x, blockIdx.x);
  X* to = row_of<X>(out, blockIdx.x);
  float sum = 0;
  for (std::int64_t col = lane_index(); col < x.cols; col += kWarpSize) {
    const float value = decode(from[col]);
    sum = fmaf(value, value, sum);
  }
  const float factor = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(x.cols) + eps);
  for (std::int64_t col = lane_index(); col < x.cols; col += kWarpSize) {
    to[col] = encode<X>(decode(from[col]) * factor * decode(weight[col]));
  }
}

/// Grid: cols / threads, rows.
template <typename X>
__global__ void add_kernel(Matrix residual, MatrixView<const float> update) {
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= residual.cols) return;
  X& value = row_of<X>(residual, blockIdx.y)[col];
  value = encode<X>(decode(value) + update.data[blockIdx.y * update.row_stride + col]);
}

__device__ inline float silu(float value) { return value / (1.0f + expf(-value)); }

/// Grid: cols / threads, rows.
template <typename X>
__global__ void silu_mul_kernel(Matrix gate, Matrix up, Matrix out) {
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= out.cols) return;
  row_of<X>(out, blockIdx.y)[col] = encode<X>(silu(decode(row_of<X>(gate, blockIdx.y)[col])) *
                                              decode(row_of<X>(up, blockIdx.y)[col]));
}

/// One thread a pair. Grid: num_heads * pairs / threads, rows.
template <typename X>
__global__ void rope_kernel(Matrix x, std::int64_t num_heads, const std::int32_t* positions,
                            RopeTable table) {
  const std::int64_t pairs = table.rope_dim / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= num_heads * pairs) return;
  const std::int64_t pair = i % pairs;
  const std::int64_t end_of_head = (i / pairs + 1) * (x.cols / num_heads);
  X* values = row_of<X>(x, blockIdx.y) + end_of_head - table.rope_dim + 2 * pair;
  const std::int64_t at = positions[blockIdx.y] * pairs + pair;
  const float a = decode(values[0]);
  const float b = decode(values[1]);
  values[0] = encode<X>(a * table.cos[at] - b * table.sin[at]);
  values[1] = encode<X>(a * table.sin[at] + b * table.cos[at]);
}

/// Grid: cache row width / threads, rows.
template <typename X>
__global__ void store_latents_kernel(Matrix latent, Matrix rope_key, const std::int64_t* slots,
                                     LatentCache cache) {
  const std::int64_t width = cache.kv_lora_rank + cache.rope_dim;
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= width) return;
  static_cast<X*>(cache.data)[slots[blockIdx.y] * width + col] =
      col < cache.kv_lora_rank ? row_of<X>(latent, blockIdx.y)[col]
                               : row_of<X>(rope_key, blockIdx.y)[col - cache.kv_lora_rank];
}

}  // namespace dsl::cuda
