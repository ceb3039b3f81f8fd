// Attention of generated tokens for many heads, on Hopper: mla_decode_kernel (mla_decode.cuh) by
// products of warpgroups, which have more than the rate of mma.sync. The bits are the same where
// both kinds of products round alike (attention_check.h).
//
// Two warpgroups share 64 heads. Of a tile's scores the first adds up even steps of 16 latents, the
// second odd ones, as the two chains of the other kernel. They swap halves: each adds the other's
// sums to its own for 16 of the 32 positions, finds these exponentials, and gets the others. Each
// has half of the values' columns. Scores of a tile are computed while exponentials of the tile
// before are.
#pragma once

#include "engine/kernels/cuda/mla_decode.cuh"
#include "engine/kernels/cuda/mla_decode_feed.cuh"
#include "engine/kernels/cuda/mla_decode_softmax.cuh"
#include "engine/kernels/cuda/swizzled_panels.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// Whether there is such a kernel for these sizes.
template <typename Dims>
inline constexpr bool kHasWarpgroupDecode = Dims::kRank == 512 && Dims::kRope == 64;

/// A block's shared memory. L: of the cache.
template <typename Dims, typename L>
struct WarpgroupDecodeBlock {
  static constexpr int kHeads = kWarpgroupRows;
  static constexpr int kThreads = 2 * kWarpgroupSize;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kPanels = Dims::kCacheRow / kPanelCols;
  static constexpr int kSteps = Dims::kCacheRow / 16;  // of products of scores
  /// Of a warpgroup's, whose queries need not be read from shared memory for every tile: as many as
  /// registers allow.
  static constexpr int kHeldSteps = 12;
  static constexpr int kWarpgroupCols = Dims::kRank / 2;
  static constexpr int kGroups = kDecodePositions / 8;
  using Slots = TileSlots<kDecodePositions, kWarps>;

  using Queries = SwizzledPanels<kPanels, kHeads>;
  using Latents = LatentPanels<Dims>;
  Queries query;
  WarpgroupLatents<Dims, L> latents;
  /// What a thread has for the one in its place in the other warpgroup: sums of scores, then
  /// exponentials. At the end, sums of exponentials.
  union {
    Wide swapped[2][2][kWarpgroupSize];
    float group_sums[kGroups][kHeads];
  };
  float largest[2][kHeads];  // score of each warpgroup's positions
};

/// What a launch asks for: the block begins at a multiple of kOperandAlignment.
template <typename Dims, typename L>
inline constexpr std::size_t kWarpgroupDecodeBytes =
    sizeof(WarpgroupDecodeBlock<Dims, L>) + kOperandAlignment;

/// Begins to copy the queries of the block's heads; those that are not there are zeros.
template <typename Dims, typename Block>
__device__ void begin_queries(const MlaDecode& call, Block& block, int first_head) {
  const std::int64_t first_query = std::int64_t{blockIdx.z} * call.num_heads + first_head;
  constexpr int kChunks = Block::kPanels * kPanelChunks;
  for (int i = thread_index(); i < Block::kHeads * kChunks; i += Block::kThreads) {
    const int head = i / kChunks;
    const int chunk = i % kChunks;
    const bool is_head = first_head + head < call.num_heads;
    const BFloat16* from =
        is_head ? call.query + (first_query + head) * Dims::kCacheRow + chunk * kChunk : call.query;
    copy_async(block.query.chunk(head, chunk / kPanelChunks, chunk % kPanelChunks), from,
               is_head ? 16 : 0);
  }
}

/// Where a warpgroup's step of 16 latents lies in the operands of the scores: every other step is
/// its own.
struct ScoreStep {
  int panel;
  int of_panel;

  __device__ ScoreStep(int i, int warpgroup) : panel(i / 2), of_panel(2 * (i % 2) + warpgroup) {}
};

/// The queries of the first steps, which stay in registers.
template <typename Block>
__device__ void hold_queries(Block& block, int warpgroup,
                             std::uint32_t (&held)[Block::kHeldSteps][4]) {
  const int head = warp_index() % 4 * 16 + lane_index() % 16;
#pragma unroll
  for (int i = 0; i < Block::kHeldSteps; ++i) {
    const ScoreStep step(i, warpgroup);
    load_matrices<false>(
        held[i], block.query.chunk(head, step.panel, 2 * step.of_panel + lane_index() / 16));
  }
}

/// Begins a warpgroup's sums of the scores of a tile.
template <typename Block>
__device__ void begin_scores(Block& block, int tile, int warpgroup,
                             const std::uint32_t (&held)[Block::kHeldSteps][4],
                             float (&scores)[kDecodePositions / 2]) {
  using Queries = typename Block::Queries;
  using Latents = typename Block::Latents;
  const OperandDescriptor heads(&block.query);
  const OperandDescriptor positions(&block.latents.panels(tile));
  begin_products();
#pragma unroll
  for (int i = 0; i < Block::kSteps / 2; ++i) {
    const ScoreStep step(i, warpgroup);
    const auto bytes = static_cast<std::uint32_t>(step.of_panel * kStepBytes);
    const std::uint64_t right = positions.behind(step.panel * Latents::kPanelBytes + bytes);
    if (i < Block::kHeldSteps) {
      multiply_bfloat16<kDecodePositions>(scores, held[i], right, i > 0);
    } else {
      multiply_bfloat16<kDecodePositions>(
          scores, heads.behind(step.panel * Queries::kPanelBytes + bytes), right, i > 0);
    }
  }
  commit_products();
}

/// values = values * factors, then begins values += weights * latents, for a warpgroup's columns.
template <typename Block>
__device__ void begin_values(Block& block, int tile, int warpgroup, const float (&factors)[2],
                             std::uint32_t (&weights)[2][4],
                             float (&values)[Block::kWarpgroupCols / 2]) {
  multiply_values(values, factors);
  auto& latents = block.latents.panels(tile);
  const ColumnsDescriptor<Block::Latents::kPanelBytes> columns(
      latents.chunks[warpgroup * (Block::kPanels / 2)]);
  hold_sums(values);
  hold_left(weights);
  begin_products();
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    multiply_columns<Block::kWarpgroupCols>(values, weights[step], columns.at_step(step));
  }
  commit_products();
}

/// One split of a row, for 64 heads. Grid: splits, heads / 64, rows.
template <typename Dims, typename L>
__global__ void __launch_bounds__(WarpgroupDecodeBlock<Dims, L>::kThreads, 1)
    mla_decode_warpgroups_kernel(MlaDecode call, SplitResults results) {
  take_turn();
  if constexpr (kHasWarpgroupProducts) {
    using Block = WarpgroupDecodeBlock<Dims, L>;
    using Softmax = WarpgroupSoftmax<Block>;
    const AttentionRow row = call.rows[blockIdx.z];
    const SplitRange split(row.position, blockIdx.x);
    if (split.count == 0) return;
    auto& block = *reinterpret_cast<Block*>(aligned_operands());
    const int first_head = static_cast<int>(blockIdx.y) * Block::kHeads;
    // All lanes of a warp have the same: the compiler is shown it.
    const int warpgroup = __shfl_sync(kAllLanes, Softmax::warpgroup(), 0);

    const int num_tiles = (split.count + kDecodePositions - 1) / kDecodePositions;
    begin_queries<Dims>(call, block, first_head);
    WarpgroupFeed<Dims, L, Block> feed(call.latents, block, row.block_table, split);
    float values[Block::kWarpgroupCols / 2] = {};
    float scores[kDecodePositions / 2];
    Softmax softmax;
    feed.wait_for_first();
    publish_operands();
    __syncthreads();
    std::uint32_t held[Block::kHeldSteps][4];
    hold_queries(block, warpgroup, held);
    feed.finish_first();
    begin_scores(block, 0, warpgroup, held, scores);
    feed.finish_second(num_tiles);
    wait_for_products(scores);
    for (int tile = 0; tile < num_tiles; ++tile) {
      // The next tile is there, and everybody is done with the one before.
      feed.wait_for_next();
      publish_operands();
      __syncthreads();
      float next_scores[kDecodePositions / 2];
      if (tile + 1 < num_tiles) begin_scores(block, tile + 1, warpgroup, held, next_scores);
      feed.go_on(tile, num_tiles);

      std::uint32_t weights[2][4];
      float factors[2];
      softmax.take(block, scores, call.score_scale, split.count - tile * kDecodePositions, weights,
                   factors);
      begin_values(block, tile, warpgroup, factors, weights, values);
      wait_for_products(values, next_scores);
#pragma unroll
      for (int i = 0; i < kDecodePositions / 2; ++i) scores[i] = next_scores[i];
    }
    wait_for_copies<0>();
    __syncthreads();

    const std::int64_t first_result =
        (std::int64_t{blockIdx.z} * call.num_heads + first_head) * results.num_splits +
        std::int64_t{blockIdx.x};
    const int num_heads = call.num_heads - first_head;
    softmax.store(block, results, first_result, num_heads);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = Softmax::head(half);
      if (head >= num_heads) continue;
      FloatPair* to = results.pairs(first_result + head * results.num_splits,
                                    warpgroup * Block::kWarpgroupCols) +
                      lane_index() % 4;
#pragma unroll
      for (int n = 0; n < Block::kWarpgroupCols / 8; ++n) {
        to[n * 4] = {values[4 * n + 2 * half], values[4 * n + 2 * half + 1]};
      }
    }
  }
}

}  // namespace dsl::cuda
