// Attention of generated tokens over the cached latents, on tensor cores. All heads of a block read
// a latent once: as a key and as a value.
#pragma once

#include <type_traits>

#include "engine/kernels/cuda/mla_decode_latents.cuh"
#include "engine/kernels/cuda/mla_softmax.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

struct MlaDecode {
  PagedLatents latents;
  const AttentionRow* rows = nullptr;
  const BFloat16* query = nullptr;  // [rows, num_heads, rank + rope]
  int num_heads = 0;
  float score_scale = 0;  // the softmax's, times log2(e)
};

/// A block's share of the work, and its shared memory. kHeadTiles times 16 heads; the number
/// changes no bit. L: of the cache.
template <typename Dims, int kHeadTiles, typename L = BFloat16>
struct DecodeBlock {
  static constexpr int kHeads = kHeadTiles * kMmaRows;
  static constexpr int kWarps = kHeadTiles > 1 ? 8 : 4;
  static constexpr int kThreads = kWarps * kWarpSize;
  /// Scores: a warp has some groups of 8 positions for 16 heads.
  static constexpr int kGroups = kDecodePositions / 8;
  static constexpr int kWarpGroups = kHeadTiles * kGroups / kWarps;
  static constexpr int kWarpsOfTile = kGroups / kWarpGroups;
  /// Values: a warp has some columns for all heads.
  static constexpr int kWarpCols = Dims::kRank / kWarps;
  static_assert(kWarpCols % 16 == 0);

  static constexpr int kStride = kTileStride<Dims::kCacheRow>;
  static constexpr int kWeightStride = kTileStride<kDecodePositions>;

  alignas(16) BFloat16 query[kHeads * kStride];
  DecodeLatents<Dims, L> latents;
  alignas(16) BFloat16 weights[kHeads * kWeightStride];  // exponentials
  float group_largest[kGroups][kHeads];
  float group_sums[kGroups][kHeads];  // of exponentials
  float bases[2][kHeads];             // before and behind a tile, in turn
};

/// Begins to copy the positions of a tile of a split, a group of copies: rows of kRowBytes to every
/// kStride bytes; those from the split's end on are zeros, whatever the cache holds there. Behind
/// the last tile the group is empty.
template <int kRowBytes, int kStride, typename Slots>
__device__ void begin_rows(const PagedLatents& latents, Slots& slots, void* target) {
  constexpr int kChunkBytes = 16;
  constexpr int kChunks = kRowBytes / kChunkBytes;
  if (slots.is_behind_end()) return commit_copies();
  const auto* cache = static_cast<const unsigned char*>(latents.cache.data);
  auto* to = static_cast<unsigned char*>(target);
  for (int row = 0; row < Slots::kRows; ++row) {
    const int i = Slots::kRows * warp_index() + row;
    const bool is_cached = slots.has_row(row);
    const unsigned char* from = cache + slots.of_row(row) * kRowBytes;
#pragma unroll
    for (int c = 0; c < kChunks; c += kWarpSize) {
      const int at = (c + lane_index()) * kChunkBytes;
      if (c + lane_index() >= kChunks) continue;
      copy_async(to + i * kStride + at, from + at, is_cached ? 16 : 0);
    }
  }
  commit_copies();
  slots.advance(latents);
}

/// A tile's rows to where the block's latents have them.
template <typename Block>
__device__ void begin_latents(const MlaDecode& call, Block& block,
                              TileSlots<kDecodePositions, Block::kWarps>& slots, int tile) {
  using Latents = decltype(block.latents);
  begin_rows<Latents::kRowBytes, Latents::kCopyStride>(call.latents, slots,
                                                       block.latents.copy_target(tile));
}

/// Scores of a warp's heads and groups of positions. Even and odd steps are added up apart, which
/// halves the chain of products that wait for each other.
template <typename Dims, typename Block>
__device__ void decode_scores(const BFloat16* query, const BFloat16* keys,
                              float (&scores)[Block::kWarpGroups][4]) {
  float sums[2][Block::kWarpGroups][4] = {};
#pragma unroll 6
  for (int step = 0; step < Dims::kCacheRow / 16; step += 2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int col = (step + half) * 16;
      if (col >= Dims::kCacheRow) continue;
      std::uint32_t a[4];
      load_left(a, query + col, Block::kStride);
      if constexpr (Block::kWarpGroups == 1) {
        std::uint32_t b[2];
        const int lane = lane_index();
        load_two_matrices(b, keys + lane % 8 * Block::kStride + col + lane / 8 % 2 * kChunk);
        mma_m16n8k16(sums[half][0], a, b);
      } else {
        std::uint32_t b[4];
        load_right_rows(b, keys + col, Block::kStride);
        multiply_two(sums[half][0], sums[half][1], a, b);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < Block::kWarpGroups; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = sums[0][n][i] + sums[1][n][i];
  }
}

/// The largest score of this tile, of one head.
template <typename Block>
__device__ float largest_score(const Block& block, int head) {
  float largest = block.group_largest[0][head];
#pragma unroll
  for (int n = 1; n < Block::kGroups; ++n) largest = fmaxf(largest, block.group_largest[n][head]);
  return largest;
}

/// values = values * factors + weights * latents, for all heads and this warp's columns.
template <typename Dims, typename Block, int kHeadTiles>
__device__ void add_values(const Block& block, int tile, const BFloat16* latents,
                           float (&values)[kHeadTiles][Block::kWarpCols / 8][4]) {
  const int g = lane_index() / 4;
#pragma unroll
  for (int m = 0; m < kHeadTiles; ++m) {
    float factors[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int head = m * kMmaRows + g + 8 * i;
      factors[i] = base_factor(block.bases[tile % 2][head], block.bases[(tile + 1) % 2][head]);
    }
    if (!changes_anything(factors)) continue;
#pragma unroll
    for (int n = 0; n < Block::kWarpCols / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[m][n][i] *= factors[i / 2];
    }
  }
#pragma unroll
  for (int k = 0; k < kDecodePositions; k += 16) {
    std::uint32_t a[kHeadTiles][4];
#pragma unroll
    for (int m = 0; m < kHeadTiles; ++m) {
      load_left(a[m], block.weights + m * kMmaRows * Block::kWeightStride + k,
                Block::kWeightStride);
    }
#pragma unroll
    for (int n = 0; n < Block::kWarpCols / 8; n += 2) {
      std::uint32_t b[4];
      load_right_cols(b, latents + k * Block::kStride + warp_index() * Block::kWarpCols + n * 8,
                      Block::kStride);
#pragma unroll
      for (int m = 0; m < kHeadTiles; ++m) multiply_two(values[m][n], values[m][n + 1], a[m], b);
    }
  }
}

/// One split of a row, for some heads. Grid: splits, heads / kHeads, rows.
template <typename Dims, int kHeadTiles, typename L>
__global__ void __launch_bounds__(DecodeBlock<Dims, kHeadTiles>::kThreads, kHeadTiles == 1 ? 2 : 1)
    mla_decode_kernel(MlaDecode call, SplitResults results) {
  take_turn();
  using Block = DecodeBlock<Dims, kHeadTiles, L>;
  auto& block = *reinterpret_cast<Block*>(shared_bytes);
  const AttentionRow row = call.rows[blockIdx.z];
  const SplitRange split(row.position, blockIdx.x);
  if (split.count == 0) return;
  const int first_head = static_cast<int>(blockIdx.y) * Block::kHeads;
  const int thread = thread_index();

  const std::int64_t first_query = std::int64_t{blockIdx.z} * call.num_heads + first_head;
  constexpr int kChunks = Dims::kCacheRow / kChunk;
  for (int i = thread; i < Block::kHeads * kChunks; i += Block::kThreads) {
    const int head = i / kChunks;
    const int at = i % kChunks * kChunk;
    const bool is_head = first_head + head < call.num_heads;
    const BFloat16* from =
        is_head ? call.query + (first_query + head) * Dims::kCacheRow + at : call.query;
    copy_async(block.query + head * Block::kStride + at, from, is_head ? 16 : 0);
  }
  for (int i = thread; i < Block::kHeads; i += Block::kThreads) block.bases[0][i] = no_score();
  TileSlots<kDecodePositions, Block::kWarps> slots(call.latents, row.block_table, split.begin,
                                                   split.count);
  constexpr int kTilesAhead = decltype(block.latents)::kTilesAhead;
#pragma unroll
  for (int tile = 0; tile < kTilesAhead; ++tile) begin_latents(call, block, slots, tile);

  const int head_tile = warp_index() / Block::kWarpsOfTile;
  const int first_group = warp_index() % Block::kWarpsOfTile * Block::kWarpGroups;
  const int g = lane_index() / 4;
  const int t = lane_index() % 4;
  float values[kHeadTiles][Block::kWarpCols / 8][4] = {};
  float sums[Block::kWarpGroups][2] = {};  // of this thread's exponentials of two heads
  const int num_tiles = (split.count + kDecodePositions - 1) / kDecodePositions;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int first = tile * kDecodePositions;
    const BFloat16* latents = block.latents.values(tile);
    wait_for_copies<kTilesAhead - 1>();
    __syncthreads();  // Nobody reads the tile before any more.
    if constexpr (std::is_same_v<L, Float8E4M3>) {
      block.latents.template convert<Block::kThreads>(tile);
      __syncthreads();
    }
    begin_latents(call, block, slots, tile + kTilesAhead);

    float scores[Block::kWarpGroups][4];
    decode_scores<Dims, Block>(block.query + head_tile * kMmaRows * Block::kStride,
                               latents + first_group * 8 * Block::kStride, scores);
#pragma unroll
    for (int n = 0; n < Block::kWarpGroups; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int position = first + (first_group + n) * 8 + 2 * t + i % 2;
        scores[n][i] = position < split.count ? scores[n][i] * call.score_scale : no_score();
      }
      const float low = quad_max(fmaxf(scores[n][0], scores[n][1]));
      const float high = quad_max(fmaxf(scores[n][2], scores[n][3]));
      if (t == 0) {
        block.group_largest[first_group + n][head_tile * kMmaRows + g] = low;
        block.group_largest[first_group + n][head_tile * kMmaRows + g + 8] = high;
      }
    }
    __syncthreads();

#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = head_tile * kMmaRows + g + 8 * half;
      const float before = block.bases[tile % 2][head];
      const float base = next_base(before, largest_score(block, head));
      const float factor = base_factor(before, base);
      if (first_group == 0 && t == 0) block.bases[(tile + 1) % 2][head] = base;
#pragma unroll
      for (int n = 0; n < Block::kWarpGroups; ++n) {
        const float left = power_of_two(scores[n][2 * half] - base);
        const float right = power_of_two(scores[n][2 * half + 1] - base);
        store_pair(block.weights + head * Block::kWeightStride + (first_group + n) * 8 + 2 * t,
                   round_pair(left, right));
        sums[n][half] = fmaf(sums[n][half], factor, left + right);
      }
    }
    __syncthreads();
    add_values<Dims, Block, kHeadTiles>(block, tile, latents, values);
  }

  const auto result_of = [&](int head) {
    return (first_query + head) * results.num_splits + std::int64_t{blockIdx.x};
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int n = 0; n < Block::kWarpGroups; ++n) {
      const float group_sum = quad_sum(sums[n][half]);
      const int head = head_tile * kMmaRows + g + 8 * half;
      if (t == 0) block.group_sums[first_group + n][head] = group_sum;
    }
  }
  __syncthreads();
  if (thread < Block::kHeads && first_head + thread < call.num_heads) {
    float sum = block.group_sums[0][thread];
#pragma unroll
    for (int n = 1; n < Block::kGroups; ++n) sum += block.group_sums[n][thread];
    results.bases[result_of(thread)] = block.bases[num_tiles % 2][thread];
    results.sums[result_of(thread)] = sum;
  }
#pragma unroll
  for (int m = 0; m < kHeadTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = m * kMmaRows + g + 8 * half;
      if (first_head + head >= call.num_heads) continue;
      FloatPair* to = results.pairs(result_of(head), warp_index() * Block::kWarpCols) + t;
#pragma unroll
      for (int n = 0; n < Block::kWarpCols / 8; ++n) {
        to[n * 4] = {values[m][n][2 * half], values[m][n][2 * half + 1]};
      }
    }
  }
}

}  // namespace dsl::cuda
