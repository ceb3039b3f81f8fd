// MLA attention over the paged latent cache. Both forms share one kernel: in the absorbed form the
// latents are keys and values of a transformed query, in the expanded form keys and values of every
// position are computed first.
#pragma once

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/attention_splits.h"
#include "engine/kernels/cuda/dots.cuh"
#include "engine/kernels/cuda/paged_latents.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

inline constexpr int kAttentionThreads = 128;

/// The query's part without position: [rows, heads, dim] with these strides.
struct QueryView {
  const void* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t dim = 0;
};

/// Keys and values of one sequence, [positions, heads, key_dim + value_dim]. Without data, the
/// cached latents are both.
struct ExpandedKeys {
  const void* data = nullptr;
  std::int64_t num_heads = 0;
};

/// Scores are multiplied by it for exponentials that are powers of two.
inline constexpr float kLog2OfE = 1.44269504f;

/// The positions [begin, begin + count) of a row's split; it has none where count is 0.
struct SplitRange {
  std::int64_t begin;
  int count;

  __device__ SplitRange(std::int64_t position, std::int64_t split) {
    const std::int64_t positions = split_positions(position);
    begin = split * positions;
    const std::int64_t left = position + 1 - begin;
    count = static_cast<int>(left < 0 ? 0 : left < positions ? left : positions);
  }
};

/// What the splits of a (row, head) leave for each other: [rows, heads, splits].
struct SplitResults {
  float* bases = nullptr;   // what scores times log2(e) are lowered by before exponentials
  float* sums = nullptr;    // of exponentials
  float* values = nullptr;  // [.., value_dim], weighted by exponentials
  std::int64_t num_splits = 0;
  std::int64_t value_dim = 0;

  /// The values of one of them from `first` on; that and value_dim are even.
  __device__ FloatPair* pairs(std::int64_t result, int first) const {
    return reinterpret_cast<FloatPair*>(values + result * value_dim + first);
  }
};

struct AttentionCall {
  PagedLatents latents;
  const AttentionRow* rows = nullptr;
  Matrix q;                     // for the rotary part of queries
  std::int64_t first_head = 0;  // of the heads of this call, in q
  MlaShape shape;
  QueryView query;
  ExpandedKeys keys;
};

/// q_latent[row, head, c] = sum_d q[d] * W_uk[d, c], rounded to X. Grid: rank / threads, heads,
/// rows.
template <typename X, typename W>
__global__ void absorb_query_kernel(Matrix q, WeightView kv_b, const AttentionRow* rows,
                                    MlaShape shape, X* q_latent) {
  take_turn();
  const std::int64_t c = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= shape.kv_lora_rank) return;
  const std::int64_t head = blockIdx.y;
  const X* query = static_cast<const X*>(q.data) + rows[blockIdx.z].row * q.row_stride +
                   head * (shape.qk_nope_head_dim + shape.qk_rope_head_dim);
  const std::int64_t first_row = head * (shape.qk_nope_head_dim + shape.v_head_dim);
  float sum = 0;
  for (std::int64_t d = 0; d < shape.qk_nope_head_dim; ++d) {
    sum = fmaf(decode(query[d]), WeightRow<W>(kv_b, first_row + d).at(c), sum);
  }
  q_latent[(blockIdx.z * shape.num_heads + head) * shape.kv_lora_rank + c] = encode<X>(sum);
}

/// expanded[position, head, :] = W latent, rounded to X: keys, then values. kv_b begins with the
/// first head. Grid: features of the heads / kTileWarps, positions / kTileRows.
template <typename X, typename W>
__global__ void expand_keys_kernel(PagedLatents latents, std::int64_t num_positions,
                                   WeightView kv_b, X* expanded) {
  take_turn();
  const std::int64_t feature = std::int64_t{blockIdx.x} * kTileWarps + warp_index();
  const std::int64_t first = std::int64_t{blockIdx.y} * kTileRows;
  if (feature >= kv_b.out_features) return;
  const X* rows[kTileRows];
#pragma unroll
  for (int r = 0; r < kTileRows; ++r) {
    rows[r] = latents.at<X>(0, first + r < num_positions ? first + r : num_positions - 1);
  }
  float sums[kTileRows];
  warp_dots(rows, WeightRow<W>(kv_b, feature), 0, kv_b.in_features, sums);
  if (lane_index() != 0) return;
#pragma unroll
  for (int r = 0; r < kTileRows; ++r) {
    if (first + r < num_positions) {
      expanded[(first + r) * kv_b.out_features + feature] = encode<X>(sums[r]);
    }
  }
}

inline std::size_t attend_shared_bytes(const AttentionCall& call) {
  return static_cast<std::size_t>(call.query.dim + call.shape.qk_rope_head_dim +
                                  kMaxSplitPositions) *
         sizeof(float);
}

/// One split of one (row, head). L: of the cache. Grid: splits, heads, rows.
template <typename X, typename L = X>
__global__ void attend_kernel(AttentionCall call, SplitResults results) {
  take_turn();
  const AttentionRow row = call.rows[blockIdx.z];
  const auto [begin, count] = SplitRange(row.position, blockIdx.x);
  if (count == 0) return;
  const std::int64_t head = blockIdx.y;
  const int dim = static_cast<int>(call.query.dim);
  const int rope_dim = static_cast<int>(call.shape.qk_rope_head_dim);
  const std::int64_t rank = call.shape.kv_lora_rank;
  const bool is_expanded = call.keys.data != nullptr;
  const std::int64_t expanded_dim = dim + results.value_dim;
  const X* expanded = static_cast<const X*>(call.keys.data) + head * expanded_dim;
  const std::int64_t expanded_stride = call.keys.num_heads * expanded_dim;

  float* query = reinterpret_cast<float*>(shared_bytes);
  float* scores = query + dim + rope_dim;
  // The absorbed query is of this call's rows, the other of the step's.
  const std::int64_t query_row = is_expanded ? row.row : std::int64_t{blockIdx.z};
  const X* query_from = static_cast<const X*>(call.query.data) + query_row * call.query.row_stride +
                        head * call.query.head_stride;
  const std::int64_t q_dim = call.shape.qk_nope_head_dim + rope_dim;
  const X* rope_from = static_cast<const X*>(call.q.data) + row.row * call.q.row_stride +
                       (call.first_head + head) * q_dim + call.shape.qk_nope_head_dim;
  for (int i = thread_index(); i < dim + rope_dim; i += kAttentionThreads) {
    query[i] = decode(i < dim ? query_from[i] : rope_from[i - dim]);
  }
  __syncthreads();

  for (int j = warp_index(); j < count; j += kAttentionThreads / kWarpSize) {
    const LatentRow<L> latent(call.latents, row.block_table, begin + j);
    const X* key = expanded + (begin + j) * expanded_stride;
    float sum = 0;
    for (int i = lane_index(); i < dim; i += kWarpSize) {
      sum = fmaf(query[i], is_expanded ? decode(key[i]) : latent.latent(i), sum);
    }
    for (int i = lane_index(); i < rope_dim; i += kWarpSize) {
      sum = fmaf(query[dim + i], latent.key(rank, i), sum);
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) scores[j] = sum * (call.shape.softmax_scale * kLog2OfE);
  }
  __syncthreads();

  // Every warp finds the same largest score for itself.
  float largest = scores[0];
  for (int j = lane_index(); j < count; j += kWarpSize) largest = fmaxf(largest, scores[j]);
  largest = warp_max(largest);
  __syncthreads();
  for (int j = thread_index(); j < count; j += kAttentionThreads) {
    scores[j] = exp2f(scores[j] - largest);
  }
  __syncthreads();

  const std::int64_t out =
      (blockIdx.z * gridDim.y + head) * results.num_splits + std::int64_t{blockIdx.x};
  if (warp_index() == 0) {
    float sum = 0;
    for (int j = lane_index(); j < count; j += kWarpSize) sum += scores[j];
    sum = warp_sum(sum);
    if (lane_index() == 0) {
      results.bases[out] = largest;
      results.sums[out] = sum;
    }
  }
  for (std::int64_t c = threadIdx.x; c < results.value_dim; c += kAttentionThreads) {
    float sum = 0;
    for (int j = 0; j < count; ++j) {
      const float value = is_expanded
                              ? decode(expanded[(begin + j) * expanded_stride + dim + c])
                              : LatentRow<L>(call.latents, row.block_table, begin + j).latent(c);
      sum = fmaf(scores[j], value, sum);
    }
    results.values[out * results.value_dim + c] = sum;
  }
}

/// Values of a row and a head, `count` splits of them from `first` on joined in ascending order;
/// load(split, values) reads those of one.
template <int kValues, typename Load>
__device__ void join_splits(const SplitResults& results, std::int64_t first, std::int64_t count,
                            const Load& load, float (&joined)[kValues]) {
  float largest = results.bases[first];
  for (std::int64_t s = 1; s < count; ++s) largest = fmaxf(largest, results.bases[first + s]);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) joined[i] = 0;
  for (std::int64_t s = 0; s < count; ++s) {
    const float factor = exp2f(results.bases[first + s] - largest);
    sum = fmaf(factor, results.sums[first + s], sum);
    float values[kValues];
    load(first + s, values);
#pragma unroll
    for (int i = 0; i < kValues; ++i) joined[i] = fmaf(factor, values[i], joined[i]);
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) joined[i] = joined[i] / sum;
}

/// Joins the splits. out[row, head, c] with these strides; `by_row` says whether a row stands at
/// its place in the step or in this call. Grid: value_dim / threads, heads, rows.
template <typename X>
__global__ void join_splits_kernel(SplitResults results, const AttentionRow* rows, bool by_row,
                                   X* out, std::int64_t row_stride, std::int64_t head_stride) {
  take_turn();
  const std::int64_t c = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= results.value_dim) return;
  const AttentionRow row = rows[blockIdx.z];
  const std::int64_t first = (blockIdx.z * gridDim.y + blockIdx.y) * results.num_splits;
  float joined[1];
  join_splits(
      results, first, num_splits(row.position),
      [&](std::int64_t split, float(&values)[1]) {
        values[0] = results.values[split * results.value_dim + c];
      },
      joined);
  out[(by_row ? row.row : std::int64_t{blockIdx.z}) * row_stride + blockIdx.y * head_stride + c] =
      encode<X>(joined[0]);
}

/// out[row, head * v + i] = W_uv[i] o_latent[row, head]. Grid: v_head_dim / kTileWarps, heads,
/// rows.
template <typename X, typename W>
__global__ void project_values_kernel(const X* o_latent, WeightView kv_b, const AttentionRow* rows,
                                      MlaShape shape, Matrix out) {
  take_turn();
  const std::int64_t i = std::int64_t{blockIdx.x} * kTileWarps + warp_index();
  if (i >= shape.v_head_dim) return;
  const std::int64_t head = blockIdx.y;
  const std::int64_t feature =
      head * (shape.qk_nope_head_dim + shape.v_head_dim) + shape.qk_nope_head_dim + i;
  const X* latent[1] = {o_latent + (blockIdx.z * shape.num_heads + head) * shape.kv_lora_rank};
  float sum[1];
  warp_dots(latent, WeightRow<W>(kv_b, feature), 0, shape.kv_lora_rank, sum);
  if (lane_index() != 0) return;
  static_cast<X*>(out.data)[rows[blockIdx.z].row * out.row_stride + head * shape.v_head_dim + i] =
      encode<X>(sum[0]);
}

}  // namespace dsl::cuda
