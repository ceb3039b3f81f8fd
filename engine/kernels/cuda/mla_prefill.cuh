// Attention of prompt tokens over expanded keys and values, on tensor cores. Online softmax over
// tiles of keys that begin at multiples of their size, whatever the chunk of the prompt.
#pragma once

#include "engine/kernels/cuda/mla_softmax.cuh"
#include "engine/kernels/cuda/mla_tiles.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

inline constexpr int kPrefillKeys = 64;  // of a tile
inline constexpr int kPrefillWarps = 4;  // with 16 rows each
inline constexpr int kPrefillRows = kPrefillWarps * kMmaRows;
inline constexpr unsigned kPrefillThreads = kPrefillWarps * kWarpSize;

/// Consecutive rows of one sequence, and some of their heads.
struct MlaPrefill {
  PagedLatents latents;  // of the sequence
  std::int64_t first_position = 0;
  std::int64_t num_rows = 0;
  const BFloat16* query = nullptr;     // of the first row and head
  std::int64_t query_stride = 0;       // of rows
  const BFloat16* expanded = nullptr;  // [positions, heads, nope + value]
  BFloat16* out = nullptr;             // of the first row and head
  std::int64_t out_stride = 0;
  float softmax_scale = 0;
};

template <typename Dims>
struct PrefillTiles {
  static constexpr int kKeyStride = kTileStride<Dims::kQuery>;
  static constexpr int kValueStride = kTileStride<Dims::kValue>;

  alignas(16) BFloat16 keys[2][kPrefillKeys * kKeyStride];
  alignas(16) BFloat16 values[2][kPrefillKeys * kValueStride];
};

/// Begins to copy kCols columns of every key, from where `source` says, which is null behind the
/// last position.
template <int kCols, typename Source>
__device__ void begin_columns(BFloat16* tile, int stride, const void* anywhere,
                              const Source& source) {
  constexpr int kChunks = kCols / kChunk;
  for (int i = thread_index(); i < kPrefillKeys * kChunks; i += static_cast<int>(kPrefillThreads)) {
    const int col = i % kChunks * kChunk;
    const BFloat16* from = source(i / kChunks);
    const bool is_there = from != nullptr;
    copy_async(tile + i / kChunks * stride + col, is_there ? from + col : anywhere,
               is_there ? 16 : 0);
  }
}

/// Begins to copy the keys and values of positions [first, first + kPrefillKeys).
template <typename Dims>
__device__ void begin_keys(const MlaPrefill& call, std::int64_t first, BFloat16* keys,
                           BFloat16* values) {
  using Tiles = PrefillTiles<Dims>;
  const std::int64_t num_positions = call.first_position + call.num_rows;
  const std::int64_t stride = std::int64_t{gridDim.y} * Dims::kHeadFeatures;
  const BFloat16* expanded = call.expanded + std::int64_t{blockIdx.y} * Dims::kHeadFeatures;
  const auto expanded_of = [&](int key) -> const BFloat16* {
    return first + key < num_positions ? expanded + (first + key) * stride : nullptr;
  };
  begin_columns<Dims::kNope>(keys, Tiles::kKeyStride, call.expanded, expanded_of);
  begin_columns<Dims::kRope>(
      keys + Dims::kNope, Tiles::kKeyStride, call.expanded, [&](int key) -> const BFloat16* {
        if (first + key >= num_positions) return nullptr;
        return static_cast<const BFloat16*>(call.latents.cache.data) +
               slot_of(call.latents, 0, first + key) * Dims::kCacheRow + Dims::kRank;
      });
  begin_columns<Dims::kValue>(values, Tiles::kValueStride, call.expanded,
                              [&](int key) -> const BFloat16* {
                                const BFloat16* from = expanded_of(key);
                                return from == nullptr ? nullptr : from + Dims::kNope;
                              });
  commit_copies();
}

/// A warp's 16 rows of queries, as left operands. Rows behind the last are zeros.
template <typename Dims>
__device__ void load_queries(const MlaPrefill& call, std::int64_t first_row,
                             std::uint32_t (&query)[Dims::kQuery / 16][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t row = first_row + lane_index() / 4 + i % 2 * 8;
    const BFloat16* from = call.query + row * call.query_stride +
                           std::int64_t{blockIdx.y} * Dims::kQuery + lane_index() % 4 * 2 +
                           i / 2 * 8;
#pragma unroll
    for (int k = 0; k < Dims::kQuery / 16; ++k) {
      query[k][i] = row < call.num_rows ? load_pair(from + 16 * k) : 0;
    }
  }
}

/// What a thread knows of its two rows, g and g + 8 of a warp's 16, and of the keys of a tile, of
/// which it has 2 t and 2 t + 1 of each group of 8. `Scores` and `Values` give a thread's sum i of
/// group n, as mma_m16n8k16() leaves them.
class PrefillSoftmax {
 public:
  __device__ explicit PrefillSoftmax(float softmax_scale) : scale_(softmax_scale * kLog2OfE) {}

  /// Turns scores of a tile into exponentials. `last_key`: of the tile's, which the warp's first
  /// row sees last. `factors`: by which values up to now are multiplied.
  template <typename Scores>
  __device__ void take(const Scores& scores, int last_key, float (&factors)[2]) {
    constexpr int kGroups = kPrefillKeys / 8;
    const int t = lane_index() % 4;
    const int last_seen = last_key + lane_index() / 4;
#pragma unroll
    for (int n = 0; n < kGroups; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores(n, i) *= scale_;
    }
    if (last_key < kPrefillKeys - 1) {
#pragma unroll
      for (int n = 0; n < kGroups; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          // No row sees beyond itself.
          const bool is_seen = n * 8 + 2 * t + i % 2 <= last_seen + i / 2 * 8;
          if (!is_seen) scores(n, i) = no_score();
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = fmaxf(scores(0, 2 * half), scores(0, 2 * half + 1));
#pragma unroll
      for (int n = 1; n < kGroups; ++n) {
        largest = fmaxf(largest, fmaxf(scores(n, 2 * half), scores(n, 2 * half + 1)));
      }
      const float before = bases_[half];
      bases_[half] = next_base(before, quad_max(largest));
      factors[half] = base_factor(before, bases_[half]);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kGroups; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores(n, i) = power_of_two(scores(n, i) - bases_[half]);
          sum += scores(n, i);
        }
      }
      sums_[half] = fmaf(sums_[half], factors[half], sum);
    }
  }

  /// Of the exponentials of all keys. All lanes call.
  __device__ float sum(int half) const { return quad_sum(sums_[half]); }

 private:
  float scale_;
  float bases_[2] = {no_score(), no_score()};
  float sums_[2] = {};  // of this lane's keys
};

/// Left operand of the product of 16 keys' values, from the exponentials of those keys.
template <typename Scores>
__device__ void round_weights(const Scores& scores, int step, std::uint32_t (&weights)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int n = 2 * step + i / 2;
    weights[i] = round_pair(scores(n, i % 2 * 2), scores(n, i % 2 * 2 + 1));
  }
}

/// Stores a warp's 16 rows of one head.
template <typename Dims, typename Values>
__device__ void store_attended(const MlaPrefill& call, std::int64_t warp_row,
                               const PrefillSoftmax& softmax, const Values& values) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = softmax.sum(half);
    const std::int64_t row = warp_row + lane_index() / 4 + 8 * half;
    if (row >= call.num_rows) continue;
    BFloat16* to = call.out + row * call.out_stride + std::int64_t{blockIdx.y} * Dims::kValue +
                   2 * (lane_index() % 4);
#pragma unroll
    for (int n = 0; n < Dims::kValue / 8; ++n) {
      store_pair(to + 8 * n, round_pair(values(n, 2 * half) / sum, values(n, 2 * half + 1) / sum));
    }
  }
}

/// Grid: rows / kPrefillRows, heads.
template <typename Dims>
__global__ void __launch_bounds__(kPrefillThreads, 2) mla_prefill_kernel(MlaPrefill call) {
  take_turn();
  using Tiles = PrefillTiles<Dims>;
  auto& tiles = *reinterpret_cast<Tiles*>(shared_bytes);
  // The last rows have the most keys: they begin first.
  const std::int64_t first_row = std::int64_t{gridDim.x - 1 - blockIdx.x} * kPrefillRows;
  const std::int64_t last_row =
      first_row + kPrefillRows < call.num_rows ? first_row + kPrefillRows - 1 : call.num_rows - 1;
  const std::int64_t num_tiles = (call.first_position + last_row) / kPrefillKeys + 1;
  begin_keys<Dims>(call, 0, tiles.keys[0], tiles.values[0]);

  const std::int64_t warp_row = first_row + warp_index() * kMmaRows;
  std::uint32_t query[Dims::kQuery / 16][4];
  load_queries<Dims>(call, warp_row, query);
  const std::int64_t warp_position = call.first_position + warp_row;
  float values[Dims::kValue / 8][4] = {};
  PrefillSoftmax softmax(call.softmax_scale);
  for (std::int64_t tile = 0; tile < num_tiles; ++tile) {
    const std::int64_t first = tile * kPrefillKeys;
    const BFloat16* keys = tiles.keys[tile % 2];
    const BFloat16* latents = tiles.values[tile % 2];
    wait_for_copies<0>();
    __syncthreads();  // Nobody reads the other tile any more.
    if (tile + 1 < num_tiles) {
      begin_keys<Dims>(call, first + kPrefillKeys, tiles.keys[(tile + 1) % 2],
                       tiles.values[(tile + 1) % 2]);
    }

    float scores[kPrefillKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < Dims::kQuery / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kPrefillKeys / 8; n += 2) {
        std::uint32_t b[4];
        load_right_rows(b, keys + n * 8 * Tiles::kKeyStride + k * 16, Tiles::kKeyStride);
        multiply_two(scores[n], scores[n + 1], query[k], b);
      }
    }
    float factors[2];
    softmax.take([&](int n, int i) -> float& { return scores[n][i]; },
                 static_cast<int>(warp_position - first), factors);
    if (changes_anything(factors)) {
#pragma unroll
      for (int n = 0; n < Dims::kValue / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) values[n][i] *= factors[i / 2];
      }
    }
#pragma unroll
    for (int k = 0; k < kPrefillKeys / 16; ++k) {
      std::uint32_t a[4];
      round_weights([&](int n, int i) { return scores[n][i]; }, k, a);
#pragma unroll
      for (int n = 0; n < Dims::kValue / 8; n += 2) {
        std::uint32_t b[4];
        load_right_cols(b, latents + k * 16 * Tiles::kValueStride + n * 8, Tiles::kValueStride);
        multiply_two(values[n], values[n + 1], a, b);
      }
    }
  }

  store_attended<Dims>(call, warp_row, softmax, [&](int n, int i) { return values[n][i]; });
}

}  // namespace dsl::cuda
