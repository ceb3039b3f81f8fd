// Products of activations and weights that are both in FP8, on Hopper: the warps of a group
// multiply a whole slice at once, from shared memory.
#pragma once

#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/leaf_stack.cuh"
#include "engine/kernels/cuda/slab_copier.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// The row of weights that is row `row` of a tile. A thread holds the sums of rows r and r + 8:
/// both sides of a feature.
template <int kSides>
struct WarpgroupWeightRow {
  int side;
  int feature;

  __device__ explicit WarpgroupWeightRow(int row)
      : side(kSides == 1 ? 0 : row / 8 % 2), feature(kSides == 1 ? row : row / 16 * 8 + row % 8) {}
};

/// A tile of kWarpgroups * 64 rows of weights and kTileRows rows of activations, and its stages of
/// shared memory: rows of weights, rows of activations, scales of these.
template <int kWarpgroups, int kTileRows>
struct WarpgroupTile {
  static constexpr int kThreads = kWarpgroups * kWarpgroupSize;
  static constexpr int kWeightRows = kWarpgroups * kWarpgroupRows;
  static constexpr int kRows = kTileRows;
  static constexpr int kFeatures = kSliceFeatures;
  static constexpr int kWeightChunks = kFeatures / kWideBytes;
  static constexpr int kRowChunks = kWeightChunks;
  static constexpr bool kHasScales = true;
  template <int kSides>
  using WeightRow = WarpgroupWeightRow<kSides>;

  static constexpr std::size_t kRowsAt = std::size_t{kWeightRows} * kFeatures;
  static constexpr std::size_t kScalesAt = kRowsAt + std::size_t{kRows} * kFeatures;
  static constexpr std::size_t kBytes =
      (kScalesAt + kRows * sizeof(float) + kOperandAlignment - 1) / kOperandAlignment *
      kOperandAlignment;
  /// More where a stage holds little: few rows leave few blocks to wait for memory side by side.
  static constexpr int kStages = kRows <= 32 ? 6 : 4;
  static constexpr std::size_t kSharedBytes = kStages * kBytes + kOperandAlignment;

  __device__ static Wide* weight(unsigned char* stage, int row, int chunk) {
    return reinterpret_cast<Wide*>(stage) + swizzled_chunk(row, chunk);
  }
  __device__ static Wide* activation(unsigned char* stage, int row, int chunk) {
    return reinterpret_cast<Wide*>(stage + kRowsAt) + swizzled_chunk(row, chunk);
  }
  __device__ static float* scales(unsigned char* stage) {
    return reinterpret_cast<float*>(stage + kScalesAt);
  }
};

/// Where the stages begin.
__device__ inline unsigned char* aligned_stages() {
  const std::uint32_t address = shared_address(shared_bytes);
  return shared_bytes + (kOperandAlignment - address % kOperandAlignment) % kOperandAlignment;
}

/// A tile of outputs: all its input features.
template <typename Gemm, int kWarpgroups, int kRows>
__device__ void multiply_warpgroup_tile(const Gemm& gemm, const typename Gemm::Group& group,
                                        std::int64_t first_feature, int first_row) {
  using Tile = WarpgroupTile<kWarpgroups, kRows>;
  constexpr int kRowTiles = kRows / kTileCols;
  constexpr int kSides = Gemm::kSides;
  const int g = lane_index() / 4;
  const int t = lane_index() % 4;
  const int warpgroup = warp_index() / 4;
  const WarpgroupWeightRow<kSides> low(warp_index() * 16 + g);
  const WarpgroupWeightRow<kSides> high(warp_index() * 16 + g + 8);
  const auto each_output = [&](const auto& work) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::int64_t feature = first_feature + (i < 2 ? low : high).feature;
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        const int row = first_row + n * kTileCols + 2 * t + i % 2;
        if (row < group.num_rows && feature < gemm.num_features()) work(row, feature, n, i);
      }
    }
  };

  unsigned char* const stages = aligned_stages();
  const SlabCopier<Gemm, Tile> copier(gemm, group, first_feature, first_row);
  SlabCursor<kSliceFeatures> copied(gemm.slices());
  const auto copy_next = [&](int stage) {
    if (copied.is_valid()) {
      copier.copy(gemm, copied, stages + stage * Tile::kBytes);
      copied.advance();
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < Tile::kStages; ++stage) copy_next(stage);

  const RowScales<Float8E4M3> low_scales(gemm.weight(group, low.side), first_feature + low.feature);
  const RowScales<Float8E4M3> high_scales(gemm.weight(group, high.side),
                                          first_feature + high.feature);
  float totals[1][kRowTiles][4] = {};
  LeafStack<1, kRowTiles> stack;
  int stage = 0;
  for (SlabCursor<kSliceFeatures> cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
    wait_for_copies<Tile::kStages - 2>();
    publish_operands();
    __syncthreads();
    // Everybody is done with the slice before this one, whose place it takes.
    copy_next((stage + Tile::kStages - 1) % Tile::kStages);

    unsigned char* const slab = stages + stage * Tile::kBytes;
    float sums[kRows / 2];
    const OperandDescriptor weights(slab + warpgroup * kWarpgroupRows * kSliceFeatures);
    const OperandDescriptor rows(slab + Tile::kRowsAt);
    begin_products();
#pragma unroll
    for (int step = 0; step < kSliceFeatures / 32; ++step) {
      multiply_float8<kRows>(sums, weights.at_step(step), rows.at_step(step), step > 0);
    }
    commit_products();
    const float weight_scales[2] = {low_scales.at(cursor.slab().begin),
                                    high_scales.at(cursor.slab().begin)};
    const float* const row_scales = Tile::scales(slab) + 2 * t;
    wait_for_products(sums);
    each_sum<1, kRowTiles>([&](int m, int n, int i) {
      totals[m][n][i] +=
          sums[4 * n + i] * (weight_scales[i / 2] * row_scales[n * kTileCols + i % 2]);
    });
    if (Gemm::kSum != GemmSum::kWhole && cursor.ends_leaf()) {
      if constexpr (Gemm::kSum == GemmSum::kTree) stack.push(cursor.leaf(), totals);
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        each_output([&](int row, std::int64_t feature, int n, int i) {
          gemm.add_leaf(group, row, feature, cursor.leaf(), totals[0][n][i]);
        });
      }
      const bool is_last = cursor.leaf() + 1 == gemm.slices().leaves.num_leaves;
      if (Gemm::kSum == GemmSum::kLeaves || !is_last) clear<1, kRowTiles>(totals);
    }
    stage = (stage + 1) % Tile::kStages;
  }
  wait_for_copies<0>();
  __syncthreads();

  if constexpr (Gemm::kSum != GemmSum::kLeaves) {
    each_output([&](int row, std::int64_t feature, int n, int i) {
      if constexpr (kSides == 1) {
        gemm.store(group, row, feature, {totals[0][n][i]});
      } else if (i < 2) {
        gemm.store(group, row, feature, {totals[0][n][i], totals[0][n][i + 2]});
      }
    });
  }
}

/// The last rows of a group take a tile of 8, 32 or 64 if that is enough.
template <typename Gemm, int kWarpgroups, int kRows>
__device__ void multiply_last_tile(const Gemm& gemm, const typename Gemm::Group& group,
                                   std::int64_t first_feature, int first_row) {
  constexpr int kFewer = kRows == 128 ? 64 : kRows == 64 ? 32 : 8;
  if constexpr (kRows > kFewer) {
    if (group.num_rows - first_row <= kFewer) {
      return multiply_last_tile<Gemm, kWarpgroups, kFewer>(gemm, group, first_feature, first_row);
    }
  }
  multiply_warpgroup_tile<Gemm, kWarpgroups, kRows>(gemm, group, first_feature, first_row);
}

/// Grid: features / (64 kWarpgroups / sides), tiles of rows (a block takes every gridDim.y-th),
/// groups of rows.
template <typename Gemm, int kWarpgroups, int kRows>
__global__ void __launch_bounds__(WarpgroupTile<kWarpgroups, kRows>::kThreads)
    warpgroup_gemm_kernel(const __grid_constant__ Gemm gemm) {
  take_turn();
  if constexpr (kHasWarpgroupProducts) {
    constexpr int kFeatures = kWarpgroups * kWarpgroupRows / Gemm::kSides;
    const typename Gemm::Group group = gemm.group(static_cast<int>(blockIdx.z));
    for (int row = static_cast<int>(blockIdx.y) * kRows; row < group.num_rows;
         row += static_cast<int>(gridDim.y) * kRows) {
      multiply_last_tile<Gemm, kWarpgroups, kRows>(gemm, group,
                                                   std::int64_t{blockIdx.x} * kFeatures, row);
    }
  }
}

}  // namespace dsl::cuda
