// What stands before and behind mla_decode_kernel: queries into the space of latents, and latents
// to values. A head's weights are read once for 64 rows.
#pragma once

#include <algorithm>
#include <type_traits>

#include "engine/kernels/cuda/mla_tiles.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/weight_row.cuh"

namespace dsl::cuda {

inline constexpr int kProjectionRows = 64;
inline constexpr int kProjectionTiles = kProjectionRows / kMmaRows;
inline constexpr int kProjectionThreads = 4 * kWarpSize;
inline constexpr int kAbsorbCols = 64;     // of a block
inline constexpr int kValueFeatures = 32;  // of a block
/// Latent features that are added up before an FP8 weight's scale: its blocks do not cross them.
inline constexpr int kScaledFeatures = 128;

template <typename Dims>
inline constexpr int kScaledRank = std::min(kScaledFeatures, Dims::kRank);

/// Whether scale blocks, if any, contain whole heads' keys and values and whole parts of the rank.
template <typename Dims>
bool has_whole_scale_blocks(const WeightView& kv_b) {
  if (kv_b.dtype != DType::kF8E4M3) return true;
  const BlockScales& scales = kv_b.scales;
  static_assert(Dims::kNope == Dims::kValue);
  return scales.block_rows % Dims::kNope == 0 && scales.first_row % Dims::kNope == 0 &&
         scales.block_cols % kScaledRank<Dims> == 0 && scales.first_col % kScaledRank<Dims> == 0;
}

/// Eight weights as BF16, to shared memory. FP8 codes become BF16 exactly, without their scale.
__device__ inline void stage_weights(BFloat16* shared, const BFloat16* from) {
  stage_chunk(shared, from);
}
__device__ inline void stage_weights(BFloat16* shared, const Float8E4M3* from) {
  float values[kGroupSize];
  load_group(from, kGroupSize, values);
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = round_pair(values[2 * i], values[2 * i + 1]);
  store_chunk(shared, words);
}

template <typename W>
__device__ const W* weight_at(const WeightView& weight, std::int64_t row, std::int64_t col) {
  return static_cast<const W*>(weight.data) + row * weight.row_stride + col;
}

inline int projection_tiles(std::int64_t num_rows) {
  const std::int64_t tiles = (num_rows + kMmaRows - 1) / kMmaRows;
  return static_cast<int>(std::min<std::int64_t>(tiles, kProjectionTiles));
}

template <typename Dims>
std::size_t absorb_shared_bytes(std::int64_t num_rows) {
  return sizeof(BFloat16) *
         static_cast<std::size_t>(projection_tiles(num_rows) * kMmaRows * kTileStride<Dims::kNope> +
                                  Dims::kNope * kTileStride<kAbsorbCols>);
}

template <typename Dims>
std::size_t project_shared_bytes(std::int64_t num_rows) {
  return sizeof(BFloat16) *
         static_cast<std::size_t>((projection_tiles(num_rows) * kMmaRows + kValueFeatures) *
                                  kTileStride<Dims::kRank>);
}

/// query[row, head, :] = q_nope W_uk, rounded, then q's rotary part. Grid: rank / kAbsorbCols,
/// heads, rows / kProjectionRows.
template <typename Dims, typename W>
__global__ void __launch_bounds__(kProjectionThreads)
    mla_absorb_kernel(Matrix q, WeightView kv_b, const AttentionRow* rows, std::int64_t num_rows,
                      BFloat16* query) {
  let_next_start();
  constexpr int kRowStride = kTileStride<Dims::kNope>;
  constexpr int kStride = kTileStride<kAbsorbCols>;
  const std::int64_t first = std::int64_t{blockIdx.z} * kProjectionRows;
  const int count =
      static_cast<int>(num_rows - first < kProjectionRows ? num_rows - first : kProjectionRows);
  const int num_tiles = (count + kMmaRows - 1) / kMmaRows;
  const std::int64_t head = blockIdx.y;
  const int first_col = static_cast<int>(blockIdx.x) * kAbsorbCols;
  auto* weights = reinterpret_cast<BFloat16*>(shared_bytes);
  BFloat16* left = weights + Dims::kNope * kStride;
  const auto query_of = [&](int r) {
    return static_cast<const BFloat16*>(q.data) + rows[first + r].row * q.row_stride +
           head * Dims::kQuery;
  };
  const auto out_of = [&](int r) {
    return query + ((first + r) * gridDim.y + head) * Dims::kCacheRow;
  };

  read_constants_early();
  constexpr int kColChunks = kAbsorbCols / kChunk;
  for (int i = thread_index(); i < Dims::kNope * kColChunks; i += kProjectionThreads) {
    const int d = i / kColChunks;
    const int col = i % kColChunks * kChunk;
    stage_weights(weights + d * kStride + col,
                  weight_at<W>(kv_b, head * Dims::kHeadFeatures + d, first_col + col));
  }
  wait_for_turn();
  constexpr int kRowChunks = Dims::kNope / kChunk;
  for (int i = thread_index(); i < num_tiles * kMmaRows * kRowChunks; i += kProjectionThreads) {
    const int r = i / kRowChunks;
    const int col = i % kRowChunks * kChunk;
    if (r < count) {
      stage_chunk(left + r * kRowStride + col, query_of(r) + col);
    } else {
      clear_chunk(left + r * kRowStride + col);
    }
  }
  commit_copies();
  if (blockIdx.x == 0) {
    for (int i = thread_index(); i < count * Dims::kRope; i += kProjectionThreads) {
      const int r = i / Dims::kRope;
      const int col = i % Dims::kRope;
      out_of(r)[Dims::kRank + col] = query_of(r)[Dims::kNope + col];
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  const int warp_col = warp_index() * 16;
  float sums[kProjectionTiles][2][4] = {};
#pragma unroll
  for (int k = 0; k < Dims::kNope; k += 16) {
    std::uint32_t b[4];
    load_right_cols(b, weights + k * kStride + warp_col, kStride);
#pragma unroll
    for (int m = 0; m < kProjectionTiles; ++m) {
      if (m >= num_tiles) continue;
      std::uint32_t a[4];
      load_left(a, left + m * kMmaRows * kRowStride + k, kRowStride);
      multiply_two(sums[m][0], sums[m][1], a, b);
    }
  }
  const float scale = block_scale<W>(kv_b, head * Dims::kHeadFeatures, first_col);
#pragma unroll
  for (int m = 0; m < kProjectionTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = m * kMmaRows + lane_index() / 4 + 8 * half;
      if (r >= count) continue;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        store_pair(out_of(r) + first_col + warp_col + 8 * n + lane_index() % 4 * 2,
                   round_pair(scale * sums[m][n][2 * half], scale * sums[m][n][2 * half + 1]));
      }
    }
  }
}

/// Where mla_project_kernel's rows lie: [row, head, rank], joined and rounded before.
struct JoinedLatents {
  const BFloat16* latents;

  /// Rows [first, first + count) as left operands, those behind them up to num_rows as zeros.
  template <typename Dims>
  __device__ void stage(BFloat16* left, std::int64_t head, std::int64_t first, int count,
                        int num_rows) const {
    constexpr int kChunks = Dims::kRank / kChunk;
    for (int i = thread_index(); i < num_rows * kChunks; i += kProjectionThreads) {
      const int r = i / kChunks;
      const int col = i % kChunks * kChunk;
      const std::int64_t from = ((first + r) * gridDim.y + head) * Dims::kRank + col;
      copy_async(left + r * kTileStride<Dims::kRank> + col, r < count ? latents + from : latents,
                 r < count ? 16 : 0);
    }
  }
};

/// The same as splits have left them: each block joins what it needs. The blocks of a head read the
/// same, so this is for few of them; it saves a kernel and its turn.
struct SplitLatents {
  SplitResults results;
  const AttentionRow* rows;

  template <typename Dims>
  __device__ void stage(BFloat16* left, std::int64_t head, std::int64_t first, int count,
                        int num_rows) const {
    constexpr int kPairs = Dims::kRank / 2;
    for (int i = thread_index(); i < num_rows * kPairs; i += kProjectionThreads) {
      const int r = i / kPairs;
      const int col = i % kPairs * 2;
      float joined[2] = {};
      if (r < count) {
        join_splits(
            results, ((first + r) * gridDim.y + head) * results.num_splits,
            num_splits(rows[first + r].position),
            [&](std::int64_t split, float(&values)[2]) {
              const FloatPair pair = *results.pairs(split, col);
              values[0] = pair.values[0];
              values[1] = pair.values[1];
            },
            joined);
      }
      store_pair(left + r * kTileStride<Dims::kRank> + col, round_pair(joined[0], joined[1]));
    }
  }
};

/// out[row, head * value + i] = W_uv[i] latents[row, head], rounded. Two warps share some features
/// and have half of the rows each. Grid: value / kValueFeatures, heads, rows / kProjectionRows.
template <typename Dims, typename W, typename Latents>
__global__ void __launch_bounds__(kProjectionThreads)
    mla_project_kernel(Latents latents, WeightView kv_b, const AttentionRow* rows,
                       std::int64_t num_rows, Matrix out) {
  let_next_start();
  constexpr int kStride = kTileStride<Dims::kRank>;
  constexpr int kWarpTiles = kProjectionTiles / 2;
  const std::int64_t first = std::int64_t{blockIdx.z} * kProjectionRows;
  const int count =
      static_cast<int>(num_rows - first < kProjectionRows ? num_rows - first : kProjectionRows);
  const int num_tiles = (count + kMmaRows - 1) / kMmaRows;
  const std::int64_t head = blockIdx.y;
  const int first_value = static_cast<int>(blockIdx.x) * kValueFeatures;
  const std::int64_t first_feature = head * Dims::kHeadFeatures + Dims::kNope + first_value;
  auto* weights = reinterpret_cast<BFloat16*>(shared_bytes);
  BFloat16* left = weights + kValueFeatures * kStride;

  read_constants_early();
  constexpr int kChunks = Dims::kRank / kChunk;
  for (int i = thread_index(); i < kValueFeatures * kChunks; i += kProjectionThreads) {
    const int col = i % kChunks * kChunk;
    stage_weights(weights + i / kChunks * kStride + col,
                  weight_at<W>(kv_b, first_feature + i / kChunks, col));
  }
  wait_for_turn();
  latents.template stage<Dims>(left, head, first, count, num_tiles * kMmaRows);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();

  const int warp_value = warp_index() % 2 * 16;
  const int first_tile = warp_index() / 2 * kWarpTiles;
  float sums[kWarpTiles][2][4] = {};
  for (int begin = 0; begin < Dims::kRank; begin += kScaledRank<Dims>) {
    float partial[kWarpTiles][2][4] = {};
#pragma unroll
    for (int k = 0; k < kScaledRank<Dims>; k += 16) {
      std::uint32_t b[4];
      load_right_rows(b, weights + warp_value * kStride + begin + k, kStride);
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
        if (first_tile + m >= num_tiles) continue;
        std::uint32_t a[4];
        load_left(a, left + (first_tile + m) * kMmaRows * kStride + begin + k, kStride);
        multiply_two(partial[m][0], partial[m][1], a, b);
      }
    }
    const float scale = block_scale<W>(kv_b, first_feature, begin);
#pragma unroll
    for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] = fmaf(scale, partial[m][n][i], sums[m][n][i]);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = (first_tile + m) * kMmaRows + lane_index() / 4 + 8 * half;
      if (r >= count) continue;
      BFloat16* to = static_cast<BFloat16*>(out.data) + rows[first + r].row * out.row_stride +
                     head * Dims::kValue + first_value + warp_value + lane_index() % 4 * 2;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        store_pair(to + 8 * n, round_pair(sums[m][n][2 * half], sums[m][n][2 * half + 1]));
      }
    }
  }
}

}  // namespace dsl::cuda
