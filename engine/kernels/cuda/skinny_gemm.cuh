// Products with few rows of activations, limited by the bytes of the weights: these go from device
// memory to registers, each once for a tile of rows.
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/slices.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

inline constexpr int kSkinnyWarps = 8;
inline constexpr unsigned kSkinnyThreads = kSkinnyWarps * kWarpSize;
/// Output features of a block.
inline constexpr int kSkinnyFeatures = 16;
/// Slices whose sums lie in shared memory at once.
inline constexpr int kRoundSlices = 2 * kSkinnyWarps;

template <int kSides, int kRowTiles>
constexpr std::size_t skinny_shared_bytes() {
  return std::size_t{kRoundSlices} * kSides * kSkinnyFeatures * kRowTiles * kTileCols *
         sizeof(float);
}

/// A lane's part of a slice of 16 features of each side, as it lies in memory.
template <typename Gemm>
struct SkinnyWeights {
  using W = typename Gemm::Weight;
  static constexpr int kStep = 4 * Operand<W>::kLaneFeatures;
  static constexpr int kSteps = kSliceFeatures / kStep;

  Wide chunks[Gemm::kSides][kSteps][2];

  /// Asks for all of it before any is used.
  __device__ void load(const Gemm& gemm, const typename Gemm::Group& group,
                       std::int64_t first_feature, int slice) {
    const FeatureRange range = gemm.slices().range(gemm.slices().leaf_of(slice), slice);
#pragma unroll
    for (int side = 0; side < Gemm::kSides; ++side) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const W* row =
            weight_row<W>(gemm.weight(group, side), first_feature + lane_index() / 4 + 8 * half);
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          chunks[side][i][half] =
              load_weights(row, range.begin + i * kStep, range.count - i * kStep);
        }
      }
    }
  }
};

/// One slice of 16 features of each side and kRowTiles * 8 rows, by one warp.
template <typename Gemm, int kRowTiles>
__device__ void skinny_slice(const Gemm& gemm, const typename Gemm::Group& group,
                             std::int64_t first_feature, const SkinnyWeights<Gemm>& weights,
                             const typename Gemm::Activation* const (&rows)[kRowTiles],
                             const LaneScales<typename Gemm::Activation, kRowTiles>& row_scales,
                             int slice, float* values) {
  using W = typename Gemm::Weight;
  using Features = LaneFeatures<Operand<W>::kProducts>;
  constexpr int kSides = Gemm::kSides;
  constexpr int kStep = SkinnyWeights<Gemm>::kStep;
  const FeatureRange range = gemm.slices().range(gemm.slices().leaf_of(slice), slice);
  const int g = lane_index() / 4;
  const int t = lane_index() % 4;

  float sums[kSides][kRowTiles][4] = {};
  bool has_nan[kSides][2] = {};
#pragma unroll
  for (int side = 0; side < kSides; ++side) {
#pragma unroll
    for (int i = 0; i < SkinnyWeights<Gemm>::kSteps; ++i) {
      const Wide(&chunks)[2] = weights.chunks[side][i];
      const Features low = Operand<W>::arrange(Operand<W>::decode(chunks[0], has_nan[side][0]));
      const Features high = Operand<W>::arrange(Operand<W>::decode(chunks[1], has_nan[side][1]));
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        const Features x = Operand<W>::arrange(
            load_activations<W>(rows[n], range.begin + i * kStep, range.count - i * kStep));
        multiply_features(low, high, x, sums[side][n]);
      }
    }
  }
#pragma unroll
  for (int side = 0; side < kSides; ++side) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int feature = g + 8 * half;
      const float scale =
          RowScales<W>(gemm.weight(group, side), first_feature + feature).at(range.begin);
      const bool is_nan = is_nan_row<W>(has_nan[side][half]);
      float* to = values + (side * kSkinnyFeatures + feature) * kRowTiles * kTileCols;
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          to[n * kTileCols + 2 * t + i] =
              is_nan ? kNotANumber : sums[side][n][2 * half + i] * row_scales.times(scale, n, i);
        }
      }
    }
  }
}

/// Grid: features / kSkinnyFeatures, tiles of rows (a block takes every gridDim.y-th), groups of
/// rows.
template <typename Gemm, int kRowTiles>
__global__ void __launch_bounds__(kSkinnyThreads)
    skinny_gemm_kernel(const __grid_constant__ Gemm gemm) {
  let_next_start();
  constexpr int kRows = kRowTiles * kTileCols;
  constexpr int kOutputs = kSkinnyFeatures * kRows;
  constexpr int kFolds = (kOutputs + int{kSkinnyThreads} - 1) / int{kSkinnyThreads};
  constexpr int kSides = Gemm::kSides;
  float* values = reinterpret_cast<float*>(shared_bytes);
  const std::int64_t first_feature = std::int64_t{blockIdx.x} * kSkinnyFeatures;
  const int num_slices = gemm.slices().num_slices();
  const int row_step = static_cast<int>(gridDim.y) * kRows;
  if constexpr (!Gemm::Group::kIsKnown) wait_for_turn();
  const typename Gemm::Group group = gemm.group(static_cast<int>(blockIdx.z));
  const int num_rows = group.num_rows;
  const int block_row = static_cast<int>(blockIdx.y) * kRows;

  // The weights of the next slice are on their way while this one's sums are joined and stored.
  SkinnyWeights<Gemm> weights;
  if (block_row < num_rows && warp_index() < num_slices) {
    if constexpr (Gemm::Group::kIsKnown) read_constants_early();
    weights.load(gemm, group, first_feature, warp_index());
  }
  if constexpr (Gemm::Group::kIsKnown) wait_for_turn();

  for (int first_row = block_row; first_row < num_rows; first_row += row_step) {
    const typename Gemm::Activation* rows[kRowTiles];
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
      const int row = first_row + n * kTileCols + lane_index() / 4;
      rows[n] = row < num_rows ? gemm.row(group, row) : nullptr;
    }
    LaneScales<typename Gemm::Activation, kRowTiles> row_scales(gemm, group, first_row);
    LeafTotals<Gemm::kSum == GemmSum::kWhole ? 1 : kNumLeaves> totals[kFolds][kSides];
    for (int round = 0; round < num_slices; round += kRoundSlices) {
      const int end = round + kRoundSlices < num_slices ? round + kRoundSlices : num_slices;
      for (int slice = round + warp_index(); slice < end; slice += kSkinnyWarps) {
        row_scales.load(gemm, slice);
        skinny_slice<Gemm, kRowTiles>(gemm, group, first_feature, weights, rows, row_scales, slice,
                                      values + (slice - round) * kSides * kOutputs);
        if (slice + kSkinnyWarps < num_slices) {
          weights.load(gemm, group, first_feature, slice + kSkinnyWarps);
        } else if (first_row + row_step < num_rows) {
          weights.load(gemm, group, first_feature, warp_index());
        }
      }
      __syncthreads();
#pragma unroll
      for (int fold = 0; fold < kFolds; ++fold) {
        const int output = static_cast<int>(threadIdx.x) + fold * int{kSkinnyThreads};
        if (output >= kOutputs) continue;
        for (int slice = round; slice < end; ++slice) {
          const int leaf = gemm.slices().leaf_of(slice);
#pragma unroll
          for (int side = 0; side < kSides; ++side) {
            totals[fold][side].add(leaf,
                                   values[((slice - round) * kSides + side) * kOutputs + output]);
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int fold = 0; fold < kFolds; ++fold) {
      const int output = static_cast<int>(threadIdx.x) + fold * int{kSkinnyThreads};
      const int row = first_row + output % kRows;
      const std::int64_t feature = first_feature + output / kRows;
      if (output >= kOutputs || row >= num_rows || feature >= gemm.num_features()) continue;
      const int num_leaves = gemm.slices().leaves.num_leaves;
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        for (int leaf = 0; leaf < num_leaves; ++leaf) {
          gemm.add_leaf(group, row, feature, leaf, totals[fold][0].leaves[leaf]);
        }
      } else {
        float outputs[kSides];
#pragma unroll
        for (int side = 0; side < kSides; ++side) {
          outputs[side] = totals[fold][side].tree(num_leaves);
        }
        gemm.store(group, row, feature, outputs);
      }
    }
  }
}

}  // namespace dsl::cuda
