// Routed experts: pairs of a row and an expert that it chose, grouped by expert.
#pragma once

#include "engine/kernels/cuda/dots.cuh"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/expert_pairs.cuh"
#include "engine/kernels/cuda/leaves.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

/// Blocks that share the pairs of one expert and one tile of its features.
inline constexpr int kPairBlocks = 8;

/// What a block of an expert kernel works on.
struct ExpertTile {
  std::int64_t expert = 0;   // of this shard
  std::int64_t feature = 0;  // of this warp
  std::int32_t first = 0;    // of the tile in the expert's pairs
  std::int32_t end = 0;
};

/// Grid of the expert kernels: features / kTileWarps, experts, kPairBlocks.
__device__ inline ExpertTile expert_tile(const ExpertPairs& pairs) {
  const std::int64_t expert = blockIdx.y;
  return {expert, std::int64_t{blockIdx.x} * kTileWarps + warp_index(),
          pairs.begin[expert] + static_cast<std::int32_t>(blockIdx.z) * kTileRows,
          pairs.begin[expert + 1]};
}

/// Pairs [first, first + kTileRows) of an expert; those behind the last are the last.
__device__ inline void tile_pairs(const ExpertPairs& pairs, const ExpertTile& tile,
                                  std::int32_t first, std::int32_t (&found)[kTileRows]) {
#pragma unroll
  for (int r = 0; r < kTileRows; ++r) {
    found[r] = pairs.pairs[first + r < tile.end ? first + r : tile.end - 1];
  }
}

/// activated[p, n] = silu(gate_proj x) * up_proj x, rounded to Out.
template <typename X, typename W, typename Out>
__global__ void expert_up_kernel(Matrix x, const ExpertWeights* experts, ExpertPairs pairs,
                                 std::int64_t num_experts_per_tok, Matrix activated) {
  take_turn();
  ExpertTile tile = expert_tile(pairs);
  if (tile.feature >= activated.cols) return;
  for (; tile.first < tile.end; tile.first += kPairBlocks * kTileRows) {
    std::int32_t found[kTileRows];
    tile_pairs(pairs, tile, tile.first, found);
    const X* rows[kTileRows];
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) rows[r] = row_of<X>(x, found[r] / num_experts_per_tok);
    float gate[kTileRows];
    float up[kTileRows];
    const ExpertWeights& expert = experts[tile.expert];
    warp_dots(rows, WeightRow<W>(expert.gate_proj, tile.feature), 0, x.cols, gate);
    warp_dots(rows, WeightRow<W>(expert.up_proj, tile.feature), 0, x.cols, up);
    if (lane_index() != 0) continue;
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      if (tile.first + r < tile.end) {
        row_of<Out>(activated, found[r])[tile.feature] = encode<Out>(silu(gate[r]) * up[r]);
      }
    }
  }
}

/// outputs[p, n] = down_proj activated[p].
template <typename X, typename W>
__global__ void expert_down_kernel(Matrix activated, const ExpertWeights* experts,
                                   ExpertPairs pairs, MatrixView<float> outputs) {
  take_turn();
  ExpertTile tile = expert_tile(pairs);
  if (tile.feature >= outputs.cols) return;
  for (; tile.first < tile.end; tile.first += kPairBlocks * kTileRows) {
    std::int32_t found[kTileRows];
    tile_pairs(pairs, tile, tile.first, found);
    const X* rows[kTileRows];
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) rows[r] = row_of<X>(activated, found[r]);
    float down[kTileRows];
    warp_dots(rows, WeightRow<W>(experts[tile.expert].down_proj, tile.feature), 0, activated.cols,
              down);
    if (lane_index() != 0) continue;
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      if (tile.first + r < tile.end) {
        outputs.data[found[r] * outputs.row_stride + tile.feature] = down[r];
      }
    }
  }
}

/// Experts of a row that add_experts_kernel reads before it adds the first.
inline constexpr int kSlotsAtOnce = 8;

/// Adds a row's experts to their leaves in ascending order: a row's expert ids are sorted. Grid:
/// cols / threads, rows.
__global__ void add_experts_kernel(Routing routing, std::int64_t first_expert,
                                   const __grid_constant__ LeafBounds leaves,
                                   MatrixView<float> outputs, LeafSums sums,
                                   std::int64_t first_row) {
  take_turn();
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= sums.cols) return;
  const std::int64_t row = blockIdx.y;
  const auto sum_of = [&](int leaf) -> float& {
    return sums.data[(leaf * sums.rows + first_row + row) * sums.cols + col];
  };
  const auto num_slots = static_cast<int>(routing.num_experts_per_tok);
  for (int begin = 0; begin < num_slots; begin += kSlotsAtOnce) {
    std::int32_t ids[kSlotsAtOnce];
    float weights[kSlotsAtOnce];
    int leaf_of[kSlotsAtOnce];  // -1 of experts of other shards
    float values[kSlotsAtOnce];
    float totals[kSlotsAtOnce];
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      const std::int64_t p = row * num_slots + begin + i;
      ids[i] = begin + i < num_slots ? routing.expert_ids[p] : -1;
      weights[i] = begin + i < num_slots ? routing.weights[p] : 0;
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      const std::int64_t expert = ids[i] - first_expert;
      const bool is_here = expert >= 0 && expert < leaves.begin[leaves.num_leaves];
      leaf_of[i] = ids[i] >= 0 && is_here ? leaf_at(leaves, expert) : -1;
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      if (leaf_of[i] < 0) continue;
      values[i] = outputs.data[(row * num_slots + begin + i) * outputs.row_stride + col];
      totals[i] = sum_of(leaf_of[i]);
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      if (leaf_of[i] < 0) continue;
      if (i > 0 && leaf_of[i - 1] == leaf_of[i]) totals[i] = totals[i - 1];
      totals[i] = fmaf(weights[i], values[i], totals[i]);
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      if (leaf_of[i] < 0) continue;
      if (i + 1 < kSlotsAtOnce && leaf_of[i + 1] == leaf_of[i]) continue;
      sum_of(leaf_of[i]) = totals[i];
    }
  }
}

}  // namespace dsl::cuda
