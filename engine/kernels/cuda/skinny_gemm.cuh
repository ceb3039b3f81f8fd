// Products with few rows of activations, limited by the bytes of the weights: these go from device
// memory to registers, each once for a tile of rows.
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/skinny_totals.cuh"
#include "engine/kernels/cuda/slices.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

inline constexpr int kSkinnyWarps = 8;
inline constexpr unsigned kSkinnyThreads = kSkinnyWarps * kWarpSize;
/// On a multiprocessor, so that the weights of one are on their way while another computes; one
/// where registers do not allow more.
template <int kSides, int kRowTiles>
inline constexpr int kSkinnyBlocks = kSides* kRowTiles > 4 ? 1 : 2;
/// Output features of a block.
inline constexpr int kSkinnyFeatures = 16;
/// Slices whose sums lie in shared memory at once.
inline constexpr int kRoundSlices = 2 * kSkinnyWarps;

template <int kSides, int kRowTiles>
constexpr std::size_t skinny_shared_bytes() {
  return std::size_t{kRoundSlices} * kSides * kSkinnyFeatures * kRowTiles * kTileCols *
         sizeof(float);
}

/// Where an output's sum lies among those of a slice and side: two rows with all their features in
/// 32 banks, which take other turns in every pair of rows. So what a warp stores, of eight features
/// and every other row, and what it reads, two rows, lies in all banks.
inline constexpr int kPairPlaces = 2 * kSkinnyFeatures;
__device__ inline int skinny_place(int row, int feature) {
  const int pair = row / 2;
  return pair * kPairPlaces + ((row % 2 * kSkinnyFeatures + feature) ^ pair % 4 * 8);
}
/// The same of row 2t + `odd` and feature g + 8 `half`, for lane 4g + t. Eight rows further on it
/// is four pairs further on.
__device__ inline int skinny_lane_place(int odd, int half) {
  const int t = lane_index() % 4;
  return t * kPairPlaces + lane_index() / 4 + ((2 * odd + half) ^ t) * 8;
}

/// The rows of weights of 16 features of each side that a lane takes part in: two of every side. Of
/// features behind the last, whose sums are not stored, it is the last.
template <typename Gemm>
struct SkinnyRows {
  using W = typename Gemm::Weight;

  const W* rows[Gemm::kSides][2];
  RowScales<W> scales[Gemm::kSides][2];

  __device__ SkinnyRows(const Gemm& gemm, const typename Gemm::Group& group,
                        std::int64_t first_feature) {
#pragma unroll
    for (int side = 0; side < Gemm::kSides; ++side) {
      const WeightView& weight = gemm.weight(group, side);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t own = first_feature + lane_index() / 4 + 8 * half;
        const std::int64_t feature = own < weight.out_features ? own : weight.out_features - 1;
        rows[side][half] = static_cast<const W*>(weight.data) + feature * weight.row_stride;
        scales[side][half] = RowScales<W>(weight, feature);
      }
    }
  }
};

/// A lane's part of a slice of 16 features of each side, as it lies in memory.
template <typename Gemm>
struct SkinnyWeights {
  using W = typename Gemm::Weight;
  static constexpr int kStep = 4 * Operand<W>::kLaneFeatures;
  static constexpr int kSteps = kSliceFeatures / kStep;

  LaneChunks<W, Operand<W>::kLaneFeatures, 2, kSteps> sides[Gemm::kSides];
  float scales[Gemm::kSides][2];

  /// Asks for all of it before any is used.
  __device__ void load(const SkinnyRows<Gemm>& from, const FeatureRange& range) {
#pragma unroll
    for (int side = 0; side < Gemm::kSides; ++side) {
      sides[side].load(from.rows[side], range.begin, range.count);
    }
#pragma unroll
    for (int side = 0; side < Gemm::kSides; ++side) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        scales[side][half] = from.scales[side][half].at(range.begin);
      }
    }
  }
};

/// Slices whose weights a warp has asked for at once: two where registers allow it beside another
/// block on the multiprocessor.
template <typename Gemm, int kRowTiles>
__host__ __device__ constexpr int held_slices() {
  return Gemm::kSides * kRowTiles == 1 ? 2 : 1;
}

/// The slices of a product. There is one leaf where sums are whole, which compilers then know.
template <typename Gemm>
struct SkinnySlices {
  static constexpr bool kIsOneLeaf = Gemm::kSum == GemmSum::kWhole;
  const Slices& slices;

  __device__ int count() const { return kIsOneLeaf ? slices.first[1] : slices.num_slices(); }
  __device__ FeatureRange range(int slice) const {
    return slices.range(kIsOneLeaf ? 0 : slices.leaf_of(slice), slice);
  }
};

/// One slice of 16 features of each side and kRowTiles * 8 rows, by one warp.
template <typename Gemm, int kRowTiles>
__device__ void skinny_slice(const SkinnyWeights<Gemm>& weights,
                             const typename Gemm::Activation* const (&rows)[kRowTiles],
                             const LaneScales<typename Gemm::Activation, kRowTiles>& row_scales,
                             const FeatureRange& range, float* values) {
  using W = typename Gemm::Weight;
  using X = typename Gemm::Activation;
  using Features = LaneFeatures<Operand<W>::kProducts>;
  constexpr int kSides = Gemm::kSides;
  constexpr int kStep = SkinnyWeights<Gemm>::kStep;
  constexpr int kSteps = SkinnyWeights<Gemm>::kSteps;
  // Steps whose activations are asked for at once: no more than registers hold.
  constexpr int kStepsAtOnce = kRowTiles == 1 ? kSteps : 1;

  float sums[kSides][kRowTiles][4] = {};
  bool has_nan[kSides][2] = {};
#pragma unroll
  for (int first = 0; first < kSteps; first += kStepsAtOnce) {
    LaneChunks<X, Operand<W>::kLaneFeatures, kRowTiles, kStepsAtOnce> activations;
    activations.load(rows, range.begin + first * kStep, range.count - first * kStep);
#pragma unroll
    for (int i = 0; i < kStepsAtOnce; ++i) {
      Features x[kRowTiles];
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        x[n] = Operand<W>::arrange(ActivationOperand<W, X>::decode(activations.chunks[n][i]));
      }
#pragma unroll
      for (int side = 0; side < kSides; ++side) {
        const auto& chunks = weights.sides[side].chunks;
        const Features low =
            Operand<W>::arrange(Operand<W>::decode(chunks[0][first + i][0], has_nan[side][0]));
        const Features high =
            Operand<W>::arrange(Operand<W>::decode(chunks[1][first + i][0], has_nan[side][1]));
#pragma unroll
        for (int n = 0; n < kRowTiles; ++n) multiply_features(low, high, x[n], sums[side][n]);
      }
    }
  }
#pragma unroll
  for (int side = 0; side < kSides; ++side) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float scale = weights.scales[side][half];
      const bool is_nan = is_nan_row<W>(has_nan[side][half]);
      float* const to = values + side * kSkinnyFeatures * kRowTiles * kTileCols;
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          to[skinny_lane_place(i, half) + n * kTileCols / 2 * kPairPlaces] =
              is_nan ? kNotANumber : sums[side][n][2 * half + i] * row_scales.times(scale, n, i);
        }
      }
    }
  }
}

/// The part of a product that a block computes.
struct SkinnyPart {
  std::int64_t first_feature;
  int group;
};

/// By a block, which takes every gridDim.y-th tile of rows; it waits for its turn.
template <typename Gemm, int kRowTiles>
__device__ void multiply_skinny(const Gemm& gemm, const SkinnyPart& part) {
  constexpr int kRows = kRowTiles * kTileCols;
  constexpr int kOutputs = kSkinnyFeatures * kRows;
  constexpr int kFolds = (kOutputs + int{kSkinnyThreads} - 1) / int{kSkinnyThreads};
  constexpr int kHeld = held_slices<Gemm, kRowTiles>();
  float* values = reinterpret_cast<float*>(shared_bytes);
  const std::int64_t first_feature = part.first_feature;
  const SkinnySlices<Gemm> slices{gemm.slices()};
  const int num_slices = slices.count();
  const int row_step = static_cast<int>(gridDim.y) * kRows;
  const int block_row = static_cast<int>(blockIdx.y) * kRows;
  if constexpr (!Gemm::Group::kIsKnown) {
    gemm.prefetch_groups();
    wait_for_turn();
  }
  const typename Gemm::Group group = gemm.group(part.group);
  const int num_rows = group.num_rows;
  if (block_row >= num_rows) {
    if constexpr (Gemm::Group::kIsKnown) wait_for_turn();
    return;
  }

  // The weights of the next slices are on their way while sums are joined and stored.
  if constexpr (Gemm::Group::kIsKnown) read_constants_early();
  const SkinnyRows<Gemm> features(gemm, group, first_feature);
  SkinnyWeights<Gemm> weights[kHeld];
  const auto load_weights = [&](int first_slice) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int slice = first_slice + i * kSkinnyWarps;
      if (slice < num_slices) weights[i].load(features, slices.range(slice));
    }
  };
  load_weights(warp_index());
  if constexpr (Gemm::Group::kIsKnown) wait_for_turn();

  for (int first_row = block_row; first_row < num_rows; first_row += row_step) {
    const typename Gemm::Activation* rows[kRowTiles];
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
      // Sums of rows behind the last are not stored.
      const int row = first_row + n * kTileCols + lane_index() / 4;
      rows[n] = gemm.row(group, row < num_rows ? row : num_rows - 1);
    }
    LaneScales<typename Gemm::Activation, kRowTiles> row_scales(gemm, group, first_row);
    SkinnyTotals<Gemm> totals[kFolds];
    for (int round = 0; round < num_slices; round += kRoundSlices) {
      const int end = round + kRoundSlices < num_slices ? round + kRoundSlices : num_slices;
#pragma unroll 1
      for (int first = round + warp_index(); first < end; first += kHeld * kSkinnyWarps) {
        const int next = first + kHeld * kSkinnyWarps;
        const bool is_last = next >= num_slices;
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
          const int slice = first + i * kSkinnyWarps;
          if (slice >= end) break;
          row_scales.load(gemm, slice);
          skinny_slice<Gemm, kRowTiles>(weights[i], rows, row_scales, slices.range(slice),
                                        values + (slice - round) * Gemm::kSides * kOutputs);
        }
        // Not before: machine code waits for all loads at once, of these slices and of the next.
        if (is_last && first_row + row_step >= num_rows) continue;
        load_weights(is_last ? warp_index() : next);
      }
      __syncthreads();
#pragma unroll
      for (int fold = 0; fold < kFolds; ++fold) {
        const int output = thread_index() + fold * int{kSkinnyThreads};
        if (output < kOutputs) {
          const int place = skinny_place(output / kSkinnyFeatures, output % kSkinnyFeatures);
          totals[fold].template add<kOutputs>(gemm.slices(), round, end, values + place);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int fold = 0; fold < kFolds; ++fold) {
      const int output = thread_index() + fold * int{kSkinnyThreads};
      const int row = first_row + output / kSkinnyFeatures;
      const std::int64_t feature = first_feature + output % kSkinnyFeatures;
      if (output >= kOutputs || row >= num_rows || feature >= gemm.num_features()) continue;
      totals[fold].store(gemm, group, row, feature);
    }
  }
}

/// Grid: features / kSkinnyFeatures, tiles of rows, groups of rows.
template <typename Gemm, int kRowTiles>
__global__ void __launch_bounds__(kSkinnyThreads, (kSkinnyBlocks<Gemm::kSides, kRowTiles>))
    skinny_gemm_kernel(const __grid_constant__ Gemm gemm) {
  let_next_start();
  multiply_skinny<Gemm, kRowTiles>(
      gemm, {std::int64_t{blockIdx.x} * kSkinnyFeatures, static_cast<int>(blockIdx.z)});
}

}  // namespace dsl::cuda
