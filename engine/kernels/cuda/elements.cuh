// Embedding, norm and what works element by element.
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

template <typename W>
__global__ void decode_kernel(const W* values, std::int64_t size, float* out) {
  take_turn();
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) out[i] = decode(values[i]);
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

/// The sum over a block of kElementThreads, the same bits on every thread. `sums` is shared memory
/// for one value a warp.
__device__ inline float block_sum(float value, float* sums) {
  value = warp_sum(value);
  if (lane_index() == 0) sums[warp_index()] = value;
  __syncthreads();
  constexpr int kWarps = kElementThreads / kWarpSize;
  return warp_sum(lane_index() < kWarps ? sums[lane_index()] : 0.0f);
}

/// to = from / sqrt(mean(from^2) + eps) * weight, by a block of kElementThreads: however many rows
/// there are, so that no sum depends on it. `from` may be `to`.
template <typename X, typename W>
__device__ void norm_row(const X* from, std::int64_t size, const W* weight, float eps, X* to) {
  constexpr std::int64_t kStep = std::int64_t{kElementThreads} * kGroupSize;
  const std::int64_t begin = std::int64_t{threadIdx.x} * kGroupSize;
  const auto count_of = [&](std::int64_t first) {
    return size - first < kGroupSize ? static_cast<int>(size - first) : kGroupSize;
  };
  float sum = 0;
  for (std::int64_t first = begin; first < size; first += kStep) {
    const int count = count_of(first);
    float values[kGroupSize];
    load_group(from + first, count, values);
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      if (i < count) sum = fmaf(values[i], values[i], sum);
    }
  }
  const float mean =
      block_sum(sum, reinterpret_cast<float*>(shared_bytes)) / static_cast<float>(size);
  const float factor = 1.0f / sqrtf(mean + eps);
  for (std::int64_t first = begin; first < size; first += kStep) {
    const int count = count_of(first);
    float values[kGroupSize];
    float weights[kGroupSize];
    load_group(from + first, count, values);
    load_group(weight + first, count, weights);
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      if (i < count) to[first + i] = encode<X>(values[i] * factor * weights[i]);
    }
  }
}

/// Shared memory of norm_row().
inline constexpr std::size_t kNormSharedBytes = kElementThreads / kWarpSize * sizeof(float);

/// Grid: rows.
template <typename X, typename W>
__global__ void rms_norm_kernel(Matrix x, const W* weight, float eps, Matrix out) {
  take_turn();
  norm_row(row_of<const X>(x, blockIdx.x), x.cols, weight, eps, row_of<X>(out, blockIdx.x));
}

/// residual += update, then its norm. Grid: rows.
template <typename X, typename W>
__global__ void add_rms_norm_kernel(Matrix residual, MatrixView<const float> update,
                                    const W* weight, float eps, Matrix out) {
  take_turn();
  X* row = row_of<X>(residual, blockIdx.x);
  const float* added = update.data + blockIdx.x * update.row_stride;
  // A thread adds up what it will norm, so that nobody waits.
  constexpr std::int64_t kStep = std::int64_t{kElementThreads} * kGroupSize;
  for (std::int64_t first = std::int64_t{threadIdx.x} * kGroupSize; first < residual.cols;
       first += kStep) {
    for (std::int64_t i = first; i < first + kGroupSize && i < residual.cols; ++i) {
      row[i] = encode<X>(decode(row[i]) + added[i]);
    }
  }
  norm_row(row, residual.cols, weight, eps, row_of<X>(out, blockIdx.x));
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

/// Rotates pair `pair` of the last rope_dim columns of head `head` of a row at `position`.
template <typename X>
__device__ void rope_pair(X* row, std::int64_t head_dim, std::int64_t head, std::int64_t pair,
                          std::int64_t position, const RopeTable& table) {
  X* values = row + (head + 1) * head_dim - table.rope_dim + 2 * pair;
  const std::int64_t at = position * (table.rope_dim / 2) + pair;
  const float a = decode(values[0]);
  const float b = decode(values[1]);
  values[0] = encode<X>(a * table.cos[at] - b * table.sin[at]);
  values[1] = encode<X>(a * table.sin[at] + b * table.cos[at]);
}

/// One thread a pair. Grid: num_heads * pairs / threads, rows.
template <typename X>
__global__ void rope_kernel(Matrix x, std::int64_t num_heads, const std::int32_t* positions,
                            RopeTable table) {
  take_turn();
  const std::int64_t pairs = table.rope_dim / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= num_heads * pairs) return;
  rope_pair(row_of<X>(x, blockIdx.y), x.cols / num_heads, i / pairs, i % pairs,
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

/// What a step's new rows are before attention. Non-owning.
struct NewRows {
  Matrix q;
  std::int64_t num_heads = 0;
  Matrix compressed_kv;  // [rows, kv_lora_rank + rope_dim]
  float eps = 0;
  const std::int32_t* positions = nullptr;
  const std::int64_t* slots = nullptr;
  RopeTable table;
  LatentCache cache;
};

/// The first block of a row norms its latent and ropes and stores what is cached of it; others rope
/// its queries, one thread a pair. Grid: 1 + num_heads * pairs / threads, rows.
template <typename X, typename W>
__global__ void rope_and_store_kernel(const __grid_constant__ NewRows call, const W* norm) {
  take_turn();
  const std::int64_t pairs = call.table.rope_dim / 2;
  const std::int64_t position = call.positions[blockIdx.y];
  if (blockIdx.x > 0) {
    const std::int64_t i = std::int64_t{blockIdx.x - 1} * blockDim.x + threadIdx.x;
    if (i >= call.num_heads * pairs) return;
    rope_pair(row_of<X>(call.q, blockIdx.y), call.q.cols / call.num_heads, i / pairs, i % pairs,
              position, call.table);
    return;
  }
  const std::int64_t rank = call.cache.kv_lora_rank;
  const std::int64_t width = rank + call.cache.rope_dim;
  X* row = row_of<X>(call.compressed_kv, blockIdx.y);
  norm_row(row, rank, norm, call.eps, row);
  for (std::int64_t pair = threadIdx.x; pair < pairs; pair += kElementThreads) {
    rope_pair(row + rank, call.cache.rope_dim, 0, pair, position, call.table);
  }
  __syncthreads();
  X* cached = static_cast<X*>(call.cache.data) + call.slots[blockIdx.y] * width;
  for (std::int64_t col = threadIdx.x; col < width; col += kElementThreads) cached[col] = row[col];
}

}  // namespace dsl::cuda
