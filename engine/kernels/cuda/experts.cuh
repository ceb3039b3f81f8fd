// Routed experts: pairs of a row and an expert that it chose, grouped by expert.
#pragma once

#include "engine/kernels/cuda/dots.cuh"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/expert_pairs.cuh"
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

}  // namespace dsl::cuda
