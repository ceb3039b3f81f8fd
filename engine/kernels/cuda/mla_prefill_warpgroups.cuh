// Attention of prompt tokens on Hopper: mla_prefill_kernel (mla_prefill.cuh) by products of
// warpgroups, with the same bits where both kinds of products round alike (attention_check.h).
//
// Two warpgroups share the keys and values of a head; each has 64 rows, whose queries stay in
// registers. Scores of a tile are computed while exponentials of the tile before are.
#pragma once

#include "engine/kernels/cuda/mla_prefill.cuh"
#include "engine/kernels/cuda/swizzled_panels.cuh"
#include "engine/kernels/cuda/tile_slots.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// Whether there is such a kernel for these sizes.
template <typename Dims>
inline constexpr bool kHasWarpgroupPrefill =
    Dims::kNope == 128 && Dims::kRope == 64 && Dims::kValue == 128;

/// A block's shared memory.
template <typename Dims>
struct WarpgroupPrefillBlock {
  static constexpr int kRows = 2 * kWarpgroupRows;
  static constexpr int kThreads = 2 * kWarpgroupSize;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kStages = 4;
  static constexpr int kSteps = Dims::kQuery / 16;  // of products of scores
  using Keys = SwizzledPanels<Dims::kQuery / kPanelCols, kPrefillKeys>;
  using Values = SwizzledPanels<Dims::kValue / kPanelCols, kPrefillKeys>;
  using Slots = TileSlots<kPrefillKeys, kWarps>;

  struct Stage {
    Keys keys;
    Values values;
  };
  Stage stages[kStages];
};

/// What a launch asks for: the block begins at a multiple of kOperandAlignment.
template <typename Dims>
inline constexpr std::size_t kWarpgroupPrefillBytes =
    sizeof(WarpgroupPrefillBlock<Dims>) + kOperandAlignment;

/// Begins to copy the keys and values of a tile, a group of copies; zeros stand behind the last
/// position. Behind the last tile the group is empty.
template <typename Dims, typename Block>
__device__ void begin_key_panels(const MlaPrefill& call, Block& block, typename Block::Slots& slots,
                                 int tile) {
  if (slots.is_behind_end()) return commit_copies();
  auto& stage = block.stages[tile % Block::kStages];
  constexpr int kRows = Block::Slots::kRows;
  const int lane = lane_index();
  const int first = kRows * warp_index();
  // The keys without position and the values of a head lie side by side.
  static_assert(Dims::kHeadFeatures == kWarpSize * kChunk && Dims::kNope == Dims::kValue);
  const std::int64_t stride = std::int64_t{gridDim.y} * kWarpSize;
  const Wide* const expanded = reinterpret_cast<const Wide*>(call.expanded) +
                               (std::int64_t{tile} * kPrefillKeys + first) * stride +
                               std::int64_t{blockIdx.y} * kWarpSize + lane;
  // Where the first row's chunk would lie were it not swizzled.
  auto* const to = reinterpret_cast<Wide*>(lane < kWarpSize / 2 ? stage.keys.chunk(first, 0, 0)
                                                                : stage.values.chunk(first, 0, 0)) +
                   lane / kPanelChunks % 2 * (Block::Keys::kPanelBytes / kWideBytes);
  static_assert(Block::Keys::kPanelBytes == Block::Values::kPanelBytes && kRows == kSwizzleRows);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    copy_async(to + swizzled_chunk(row, lane % kPanelChunks), expanded + row * stride,
               slots.has_row(row) ? 16 : 0);
  }
  constexpr int kRowsAtOnce = kWarpSize / kPanelChunks;
  constexpr int kRowChunks = Dims::kCacheRow / kChunk;
  const auto* const roped = static_cast<const Wide*>(call.latents.cache.data) +
                            Dims::kRank / kChunk + lane % kPanelChunks;
#pragma unroll
  for (int i = 0; i < kRows; i += kRowsAtOnce) {
    const int row = i + lane / kPanelChunks;
    copy_async(stage.keys.chunk(first + row, Dims::kNope / kPanelCols, lane % kPanelChunks),
               roped + slots.of_row(row) * kRowChunks, slots.has_row(row) ? 16 : 0);
  }
  commit_copies();
  slots.advance(call.latents);
}

/// Begins a warpgroup's scores of a tile.
template <typename Block>
__device__ void begin_key_products(Block& block, int tile,
                                   const std::uint32_t (&query)[Block::kSteps][4],
                                   float (&scores)[kPrefillKeys / 2]) {
  const OperandDescriptor keys(&block.stages[tile % Block::kStages].keys);
  constexpr int kPanelSteps = kSwizzleBytes / kStepBytes;
  begin_products();
#pragma unroll
  for (int i = 0; i < Block::kSteps; ++i) {
    multiply_bfloat16<kPrefillKeys>(
        scores, query[i],
        keys.behind(i / kPanelSteps * Block::Keys::kPanelBytes + i % kPanelSteps * kStepBytes),
        i > 0);
  }
  commit_products();
}

/// values = values * factors, then begins values += weights * the tile's values.
template <typename Dims, typename Block>
__device__ void begin_value_products(Block& block, int tile, const float (&factors)[2],
                                     std::uint32_t (&weights)[kPrefillKeys / 16][4],
                                     float (&values)[Dims::kValue / 2]) {
  multiply_values(values, factors);
  const ColumnsDescriptor<Block::Values::kPanelBytes> columns(
      &block.stages[tile % Block::kStages].values);
  hold_sums(values);
  hold_left(weights);
  begin_products();
#pragma unroll
  for (int step = 0; step < kPrefillKeys / 16; ++step) {
    multiply_columns<Dims::kValue>(values, weights[step], columns.at_step(step));
  }
  commit_products();
}

/// Grid: rows / 128, heads.
template <typename Dims>
__global__ void __launch_bounds__(WarpgroupPrefillBlock<Dims>::kThreads, 1)
    mla_prefill_warpgroups_kernel(MlaPrefill call) {
  take_turn();
  if constexpr (kHasWarpgroupProducts) {
    using Block = WarpgroupPrefillBlock<Dims>;
    auto& block = *reinterpret_cast<Block*>(aligned_operands());
    // The last rows have the most keys: they begin first.
    const std::int64_t first_row = std::int64_t{gridDim.x - 1 - blockIdx.x} * Block::kRows;
    const std::int64_t end_row =
        first_row + Block::kRows < call.num_rows ? first_row + Block::kRows : call.num_rows;
    const int num_tiles = static_cast<int>((call.first_position + end_row - 1) / kPrefillKeys) + 1;
    typename Block::Slots slots(call.latents, 0, 0,
                                static_cast<int>(call.first_position + call.num_rows));
#pragma unroll
    for (int tile = 0; tile + 1 < Block::kStages; ++tile) {
      begin_key_panels<Dims>(call, block, slots, tile);
    }
    const std::int64_t warp_row = first_row + warp_index() * kMmaRows;
    const auto warp_position = static_cast<int>(call.first_position + warp_row);
    std::uint32_t query[Block::kSteps][4];
    load_queries<Dims>(call, warp_row, query);
    hold_left(query);
    float values[Dims::kValue / 2] = {};
    float scores[kPrefillKeys / 2];
    PrefillSoftmax softmax(call.softmax_scale);
    wait_for_copies<Block::kStages - 2>();
    publish_operands();
    __syncthreads();
    begin_key_products(block, 0, query, scores);
    wait_for_products(scores);
    for (int tile = 0; tile < num_tiles; ++tile) {
      // The next tile is there, and everybody is done with the one before.
      wait_for_copies<Block::kStages - 3>();
      publish_operands();
      __syncthreads();
      float next_scores[kPrefillKeys / 2];
      if (tile + 1 < num_tiles) begin_key_products(block, tile + 1, query, next_scores);
      begin_key_panels<Dims>(call, block, slots, tile + Block::kStages - 1);

      const auto score = [&](int n, int i) -> float& { return scores[4 * n + i]; };
      float factors[2];
      softmax.take(score, warp_position - tile * kPrefillKeys, factors);
      std::uint32_t weights[kPrefillKeys / 16][4];
#pragma unroll
      for (int step = 0; step < kPrefillKeys / 16; ++step) {
        round_weights(score, step, weights[step]);
      }
      begin_value_products<Dims>(block, tile, factors, weights, values);
      wait_for_products(values, next_scores);
#pragma unroll
      for (int i = 0; i < kPrefillKeys / 2; ++i) scores[i] = next_scores[i];
    }
    wait_for_copies<0>();
    store_attended<Dims>(call, warp_row, softmax, [&](int n, int i) { return values[4 * n + i]; });
  }
}

}  // namespace dsl::cuda
