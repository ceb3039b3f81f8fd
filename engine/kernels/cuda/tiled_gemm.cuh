// Products with many rows of activations, limited by the tensor cores: slabs of both operands pass
// through shared memory, copied while earlier ones are multiplied.
#pragma once

#include "engine/kernels/cuda/leaf_stack.cuh"
#include "engine/kernels/cuda/slab_cursor.cuh"
#include "engine/kernels/cuda/slabs.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

/// A warp's sums: 2 x 16 rows of weights and kRowTiles x 8 rows of activations.
template <typename W, typename X, int kRowTiles>
struct WarpSums {
  using Layout = SlabLayout<W, X, tiled_rows<kRowTiles>()>;

  float sums[2][kRowTiles][4] = {};
  bool has_nan[2][2] = {};

  /// Adds the slice's sums to `totals`, and begins with the next. `scales` are those of the
  /// weights; those of the rows are in the stage.
  __device__ void move_to(float (&totals)[2][kRowTiles][4], const float (&scales)[2][2],
                          unsigned char* stage, int first_row) {
    const auto scale_of = [&](int m, int n, int i) {
      if constexpr (Layout::kHasScales) {
        const int row = first_row + n * kTileCols + lane_index() % 4 * 2 + i % 2;
        return scales[m][i / 2] * Layout::scales(stage)[row];
      } else {
        return scales[m][i / 2];
      }
    };
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool is_nan = is_nan_row<W>(has_nan[m][i / 2]);
#pragma unroll
        for (int n = 0; n < kRowTiles; ++n) {
          totals[m][n][i] += is_nan ? kNotANumber : sums[m][n][i] * scale_of(m, n, i);
          sums[m][n][i] = 0;
        }
      }
      has_nan[m][0] = has_nan[m][1] = false;
    }
  }

  __device__ void multiply(unsigned char* stage, int first_weight, int first_row) {
    if constexpr (std::is_same_v<W, BFloat16>) {
      multiply_matrices(stage, first_weight, first_row);
    } else {
      multiply_codes(stage, first_weight, first_row);
    }
  }

 private:
  /// Both operands are in BF16: their order in shared memory is that of the products.
  __device__ void multiply_matrices(unsigned char* stage, int first_weight, int first_row) {
    constexpr int kSteps = kSlabFeatures / 16;
    static_assert(kRowTiles % 2 == 0);
    const int lane = lane_index();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t weights[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices<false>(weights[m], Layout::weight(stage, first_weight + m * 16 + lane % 16,
                                                        2 * step + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < kRowTiles; n += 2) {
        std::uint32_t rows[4];
        load_matrices<false>(
            rows, Layout::activation(stage, first_row + n * kTileCols + lane / 16 * 8 + lane % 8,
                                     2 * step + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16(sums[m][n], weights[m], {rows[0], rows[1]});
          mma_m16n8k16(sums[m][n + 1], weights[m], {rows[2], rows[3]});
        }
      }
    }
  }

  /// Weights are codes.
  __device__ void multiply_codes(unsigned char* stage, int first_weight, int first_row) {
    using Features = LaneFeatures<Operand<W>::kProducts>;
    constexpr int kSteps = kSlabFeatures / (4 * Operand<W>::kLaneFeatures);
    constexpr int kChunks = ActivationOperand<W, X>::kChunks;
    const int g = lane_index() / 4;
    const int t = lane_index() % 4;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Features weights[2][2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          weights[m][half] = Operand<W>::decode(
              *Layout::weight(stage, first_weight + m * 16 + half * 8 + g, step * 4 + t),
              has_nan[m][half]);
        }
      }
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        Wide chunks[kChunks];
#pragma unroll
        for (int i = 0; i < kChunks; ++i) {
          chunks[i] = *Layout::activation(stage, first_row + n * kTileCols + g,
                                          (step * 4 + t) * kChunks + i);
        }
        const Features x = ActivationOperand<W, X>::decode(chunks);
#pragma unroll
        for (int m = 0; m < 2; ++m) multiply_features(weights[m][0], weights[m][1], x, sums[m][n]);
      }
    }
  }
};

/// A tile of outputs: all its input features.
template <typename Gemm, int kRowTiles>
__device__ void multiply_tile(const Gemm& gemm, const typename Gemm::Group& group,
                              std::int64_t first_feature, int first_row) {
  using W = typename Gemm::Weight;
  using X = typename Gemm::Activation;
  using Layout = SlabLayout<W, X, tiled_rows<kRowTiles>()>;
  constexpr std::size_t kStageBytes = Layout::kBytes;
  const int first_weight = warp_index() % kTiledFeatureWarps * 32;
  const int warp_row = warp_index() / kTiledFeatureWarps * kRowTiles * kTileCols;
  const int g = lane_index() / 4;
  const int t = lane_index() % 4;
  const auto each_output = [&](const auto& work) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const TiledWeightRow<Gemm::kSides> weight(first_weight + m * 16 + i / 2 * 8 + g);
        const std::int64_t feature = first_feature + weight.feature;
#pragma unroll
        for (int n = 0; n < kRowTiles; ++n) {
          const int row = first_row + warp_row + n * kTileCols + 2 * t + i % 2;
          if (row < group.num_rows && feature < gemm.num_features()) work(row, feature, m, n, i);
        }
      }
    }
  };

  const SlabCopier<Gemm, Layout> copier(gemm, group, first_feature, first_row);
  SlabCursor<kSlabFeatures> copied(gemm.slices());
  const auto copy_next = [&](int stage) {
    if (copied.is_valid()) {
      copier.copy(gemm, copied.slab(), copied.slice(), shared_bytes + stage * kStageBytes);
      copied.advance();
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < kSlabStages; ++stage) copy_next(stage);

  float totals[2][kRowTiles][4] = {};
  LeafStack<2, kRowTiles> stack;
  WarpSums<W, X, kRowTiles> slice;
  float scales[2][2];
  int stage = 0;
  for (SlabCursor<kSlabFeatures> cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
    wait_for_copies<kSlabStages - 2>();
    __syncthreads();
    // Everybody is done with the slab before this one, whose place it takes.
    copy_next((stage + kSlabStages - 1) % kSlabStages);
    if (cursor.begins_slice()) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const TiledWeightRow<Gemm::kSides> row(first_weight + m * 16 + half * 8 + g);
          scales[m][half] = RowScales<W>(gemm.weight(group, row.side), first_feature + row.feature)
                                .at(cursor.slab().begin);
        }
      }
    }
    unsigned char* const slab = shared_bytes + stage * kStageBytes;
    slice.multiply(slab, first_weight, warp_row);
    if (cursor.ends_slice()) slice.move_to(totals, scales, slab, warp_row);
    if (Gemm::kSum != GemmSum::kWhole && cursor.ends_leaf()) {
      if constexpr (Gemm::kSum == GemmSum::kTree) stack.push(cursor.leaf(), totals);
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        each_output([&](int row, std::int64_t feature, int m, int n, int i) {
          gemm.store_leaf(group, row, feature, cursor.leaf(), totals[m][n][i]);
        });
      }
      const bool is_last = cursor.leaf() + 1 == gemm.slices().leaves.num_leaves;
      if (Gemm::kSum == GemmSum::kLeaves || !is_last) clear<2, kRowTiles>(totals);
    }
    stage = (stage + 1) % kSlabStages;
  }
  wait_for_copies<0>();
  __syncthreads();

  if constexpr (Gemm::kSum != GemmSum::kLeaves) {
    each_output([&](int row, std::int64_t feature, int m, int n, int i) {
      if constexpr (Gemm::kSides == 1) {
        gemm.store(group, row, feature, {totals[m][n][i]});
      } else if (m == 0) {
        gemm.store(group, row, feature, {totals[0][n][i], totals[1][n][i]});
      }
    });
  }
}

/// Grid: features / tiled_features, tiles of rows (a block takes every gridDim.y-th), groups of
/// rows.
template <typename Gemm, int kRowTiles>
__global__ void __launch_bounds__(kTiledThreads)
    tiled_gemm_kernel(const __grid_constant__ Gemm gemm) {
  take_turn();
  constexpr int kRows = tiled_rows<kRowTiles>();
  const typename Gemm::Group group = gemm.group(static_cast<int>(blockIdx.z));
  for (int row = static_cast<int>(blockIdx.y) * kRows; row < group.num_rows;
       row += static_cast<int>(gridDim.y) * kRows) {
    multiply_tile<Gemm, kRowTiles>(gemm, group,
                                   std::int64_t{blockIdx.x} * tiled_features<Gemm::kSides>(), row);
  }
}

}  // namespace dsl::cuda
