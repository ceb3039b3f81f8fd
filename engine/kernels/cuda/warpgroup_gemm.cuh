// Products of activations and weights that are both in FP8, on Hopper: the warps of a group
// multiply a whole slice at once, from shared memory.
#pragma once

#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/leaf_stack.cuh"
#include "engine/kernels/cuda/slab_cursor.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// A tile: weights of kWarpgroups * 64 rows, kRows rows of activations.
template <int kWarpgroups, int kRows>
struct WarpgroupTile {
  static constexpr int kThreads = kWarpgroups * kWarpgroupSize;
  static constexpr int kWeightRows = kWarpgroups * kWarpgroupRows;
  static constexpr int kChunks = kSliceFeatures / kWideBytes;  // of a row
  static constexpr std::size_t kOperandBytes = (std::size_t{kWeightRows} + kRows) * kSliceFeatures;
  static constexpr std::size_t kBytes = kOperandBytes + std::size_t{kRows} * sizeof(float);
  /// Slices on the way: as much as hides the latency of memory when few blocks are there.
  static constexpr int kStages = kRows <= 32 ? 6 : 4;
  static constexpr std::size_t kSharedBytes = kStages * kBytes + kOperandAlignment;

  /// The parts of a stage. All operands come first, so that they stay aligned.
  __device__ static unsigned char* weights(unsigned char* stages, int stage) {
    return stages + stage * kOperandBytes;
  }
  __device__ static unsigned char* rows(unsigned char* stages, int stage) {
    return weights(stages, stage) + std::size_t{kWeightRows} * kSliceFeatures;
  }
  __device__ static float* scales(unsigned char* stages, int stage) {
    return reinterpret_cast<float*>(stages + kStages * kOperandBytes) + stage * kRows;
  }
};

/// Where the stages begin.
__device__ inline unsigned char* aligned_stages() {
  const std::uint32_t address = shared_address(shared_bytes);
  return shared_bytes + (kOperandAlignment - address % kOperandAlignment) % kOperandAlignment;
}

/// The row of weights that is row `row` of a tile. A thread holds the sums of rows r and r + 8:
/// both sides of a feature.
template <int kSides>
struct WarpgroupWeightRow {
  int side;
  int feature;

  __device__ explicit WarpgroupWeightRow(int row)
      : side(kSides == 1 ? 0 : row / 8 % 2), feature(kSides == 1 ? row : row / 16 * 8 + row % 8) {}
};

/// The scales of a row of weights. Its blocks are as wide as slices.
class RowScales {
 public:
  __device__ RowScales(const WeightView& weight, std::int64_t feature)
      : scales_(weight.scales),
        first_((feature + scales_.first_row) / scales_.block_rows * scales_.row_stride),
        is_valid_(feature < weight.out_features) {}
  __device__ float at(std::int64_t begin) const {
    const auto block = static_cast<std::uint64_t>(begin + scales_.first_col) / kSliceFeatures;
    return is_valid_ ? block_scale_at(scales_, first_ + static_cast<std::int64_t>(block)) : 0;
  }

 private:
  const BlockScales& scales_;
  std::int64_t first_;
  bool is_valid_;
};

/// A thread's part of every copy of a tile's slices.
template <typename Gemm, int kWarpgroups, int kRows>
class SliceCopier {
  using W = typename Gemm::Weight;
  using Tile = WarpgroupTile<kWarpgroups, kRows>;
  static constexpr int kWeightCopies = Tile::kWeightRows * Tile::kChunks / Tile::kThreads;
  static constexpr int kRowCopies = (kRows * Tile::kChunks + Tile::kThreads - 1) / Tile::kThreads;

 public:
  __device__ SliceCopier(const Gemm& gemm, const typename Gemm::Group& group,
                         std::int64_t first_feature, int first_row) {
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const WarpgroupWeightRow<Gemm::kSides> row(index(i) / Tile::kChunks);
      weights_[i] = weight_row<W>(gemm.weight(group, row.side), first_feature + row.feature);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int row = first_row + index(i) / Tile::kChunks;
      rows_[i] = row < group.num_rows ? gemm.row(group, row) : nullptr;
    }
    const int row = first_row + static_cast<int>(threadIdx.x);
    if (static_cast<int>(threadIdx.x) < kRows && row < group.num_rows) {
      scaled_row_ = static_cast<int>(gemm.input_row(group, row));
    }
  }

  __device__ void copy(const Gemm& gemm, const SlabCursor<kSliceFeatures>& cursor,
                       unsigned char* stages, int stage) const {
    Wide* const weights = reinterpret_cast<Wide*>(Tile::weights(stages, stage));
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      copy_row_chunk(weights, weights_[i], index(i), cursor.slab());
    }
    Wide* const rows = reinterpret_cast<Wide*>(Tile::rows(stages, stage));
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      if (index(i) < kRows * Tile::kChunks) copy_row_chunk(rows, rows_[i], index(i), cursor.slab());
    }
    if (scaled_row_ >= 0) {
      copy_float_async(Tile::scales(stages, stage) + threadIdx.x,
                       gemm.inputs.scale(scaled_row_, cursor.slice()));
    }
  }

 private:
  __device__ static int index(int i) { return static_cast<int>(threadIdx.x) + i * Tile::kThreads; }

  template <typename T>
  __device__ static void copy_row_chunk(Wide* operand, const T* row, int index,
                                        const FeatureRange& features) {
    const int chunk = index % Tile::kChunks;
    copy_chunk(operand + swizzled_chunk(index / Tile::kChunks, chunk),
               row == nullptr ? nullptr : row + features.begin + chunk * kWideBytes,
               features.count - chunk * kWideBytes);
  }

  const W* weights_[kWeightCopies];
  const Float8E4M3* rows_[kRowCopies];
  int scaled_row_ = -1;  // whose scale this thread copies
};

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
  const SliceCopier<Gemm, kWarpgroups, kRows> copier(gemm, group, first_feature, first_row);
  SlabCursor<kSliceFeatures> copied(gemm.slices());
  const auto copy_next = [&](int stage) {
    if (copied.is_valid()) {
      copier.copy(gemm, copied, stages, stage);
      copied.advance();
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < Tile::kStages; ++stage) copy_next(stage);

  const RowScales low_scales(gemm.weight(group, low.side), first_feature + low.feature);
  const RowScales high_scales(gemm.weight(group, high.side), first_feature + high.feature);
  float totals[1][kRowTiles][4] = {};
  LeafStack<1, kRowTiles> stack;
  int stage = 0;
  for (SlabCursor<kSliceFeatures> cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
    wait_for_copies<Tile::kStages - 2>();
    publish_operands();
    __syncthreads();
    // Everybody is done with the slice before this one, whose place it takes.
    copy_next((stage + Tile::kStages - 1) % Tile::kStages);

    float sums[kRows / 2];
    const OperandDescriptor weights(Tile::weights(stages, stage) +
                                    warpgroup * kWarpgroupRows * kSliceFeatures);
    const OperandDescriptor rows(Tile::rows(stages, stage));
    begin_products();
#pragma unroll
    for (int step = 0; step < kSliceFeatures / 32; ++step) {
      multiply_float8<kRows>(sums, weights.at_step(step), rows.at_step(step), step > 0);
    }
    commit_products();
    const float weight_scales[2] = {low_scales.at(cursor.slab().begin),
                                    high_scales.at(cursor.slab().begin)};
    const float* const row_scales = Tile::scales(stages, stage) + 2 * t;
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
