// Products of activations and weights that are both in FP8 or both in BF16, on Hopper: the warps of
// a group multiply a whole slice at once, from shared memory.
#pragma once

#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/leaf_stack.cuh"
#include "engine/kernels/cuda/slab_copier.cuh"
#include "engine/kernels/cuda/slab_cursor.cuh"
#include "engine/kernels/cuda/turns.cuh"
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

/// A tile of kWarpgroups * 64 rows of weights and kTileRows rows of activations, both of T, and its
/// stages of shared memory. A stage holds a slice as slabs as wide as the swizzle, one of codes or
/// two of BF16: rows of weights, rows of activations, of quantised ones their scales.
template <typename T, int kWarpgroups, int kTileRows>
struct WarpgroupTile {
  static constexpr int kThreads = kWarpgroups * kWarpgroupSize;
  static constexpr int kWeightRows = kWarpgroups * kWarpgroupRows;
  static constexpr int kRows = kTileRows;
  static constexpr int kSlabFeatures = kSwizzleBytes / static_cast<int>(sizeof(T));
  static constexpr int kSlabs = kSliceFeatures / kSlabFeatures;
  static constexpr int kWeightChunks = kSwizzleBytes / kWideBytes;
  static constexpr int kRowChunks = kWeightChunks;
  static constexpr bool kHasScales = std::is_same_v<T, Float8E4M3>;
  template <int kSides>
  using WeightRow = WarpgroupWeightRow<kSides>;

  static constexpr std::size_t kRowsAt = std::size_t{kWeightRows} * kSwizzleBytes;
  static constexpr std::size_t kScalesAt = kRowsAt + std::size_t{kRows} * kSwizzleBytes;
  static constexpr std::size_t kScaleBytes = kHasScales ? kRows * sizeof(float) : 0;
  static constexpr std::size_t kSlabBytes =
      (kScalesAt + kScaleBytes + kOperandAlignment - 1) / kOperandAlignment * kOperandAlignment;
  static constexpr std::size_t kBytes = kSlabs * kSlabBytes;
  /// More where a stage holds little: few rows leave few blocks to wait for memory side by side.
  static constexpr int kStages = kHasScales ? (kRows <= 32 ? 6 : 4) : (kRows <= 64 ? 4 : 3);
  static constexpr std::size_t kSharedBytes = kStages * kBytes + kOperandAlignment;

  __device__ static Wide* weight(unsigned char* slab, int row, int chunk) {
    return reinterpret_cast<Wide*>(slab) + swizzled_chunk(row, chunk);
  }
  __device__ static Wide* activation(unsigned char* slab, int row, int chunk) {
    return reinterpret_cast<Wide*>(slab + kRowsAt) + swizzled_chunk(row, chunk);
  }
  __device__ static float* scales(unsigned char* slab) {
    return reinterpret_cast<float*>(slab + kScalesAt);
  }

  /// Begins the products of a slice's slabs with the rows of weights of one warpgroup.
  __device__ static void begin_slice(unsigned char* stage, int warpgroup,
                                     float (&sums)[kRows / 2]) {
    begin_products();
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      unsigned char* const at = stage + slab * kSlabBytes;
      const OperandDescriptor weights(at + warpgroup * kWarpgroupRows * kSwizzleBytes);
      const OperandDescriptor rows(at + kRowsAt);
#pragma unroll
      for (int step = 0; step < kSwizzleBytes / kStepBytes; ++step) {
        const bool adds = slab > 0 || step > 0;
        if constexpr (kHasScales) {
          multiply_float8<kRows>(sums, weights.at_step(step), rows.at_step(step), adds);
        } else {
          multiply_bfloat16<kRows>(sums, weights.at_step(step), rows.at_step(step), adds);
        }
      }
    }
    commit_products();
  }

  /// totals += sums * (weight scale * row scale), of codes. Both features of a thread mostly have
  /// the same weight scale.
  __device__ static void add_scaled(unsigned char* slab, const float (&weight_scales)[2],
                                    const float (&sums)[kRows / 2],
                                    TileSums<1, kRows / kTileCols>& totals) {
    const auto* const row_scales =
        reinterpret_cast<const FloatPair*>(scales(slab)) + lane_index() % 4;
    const auto add = [&](int n, int i, float scale) {
      totals[0][n][i] = fmaf(sums[4 * n + i], scale, totals[0][n][i]);
    };
    const auto add_rows = [&](const auto& high_scale) {
#pragma unroll
      for (int n = 0; n < kRows / kTileCols; ++n) {
        const FloatPair pair = row_scales[n * kTileCols / 2];
#pragma unroll
        for (int col = 0; col < 2; ++col) {
          const float row_scale = pair.values[col];
          const float low = weight_scales[0] * row_scale;
          add(n, col, low);
          add(n, col + 2, high_scale(low, row_scale));
        }
      }
    };
    if (__ballot_sync(kAllLanes, weight_scales[0] != weight_scales[1]) == 0) {
      add_rows([](float low, float) { return low; });
    } else {
      add_rows([&](float, float row_scale) { return weight_scales[1] * row_scale; });
    }
  }
};

/// A tile of outputs: all its input features.
template <typename Gemm, int kWarpgroups, int kRows>
__device__ void multiply_warpgroup_tile(const Gemm& gemm, const typename Gemm::Group& group,
                                        std::int64_t first_feature, int first_row) {
  using Tile = WarpgroupTile<typename Gemm::Weight, kWarpgroups, kRows>;
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

  unsigned char* const stages = aligned_operands();
  const SlabCopier<Gemm, Tile> copier(gemm, group, first_feature, first_row);
  SlabCursor<kSliceFeatures> copied(gemm.slices());
  const auto copy_next = [&](int stage) {
    if (copied.is_valid()) {
#pragma unroll
      for (int slab = 0; slab < Tile::kSlabs; ++slab) {
        const int skipped = slab * Tile::kSlabFeatures;
        const FeatureRange slice = copied.slab();
        copier.copy(gemm, {slice.begin + skipped, slice.count - skipped}, copied.slice(),
                    stages + stage * Tile::kBytes + slab * Tile::kSlabBytes);
      }
      copied.advance();
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < Tile::kStages; ++stage) copy_next(stage);

  using Scales = RowScales<typename Gemm::Weight>;
  const Scales low_scales(gemm.weight(group, low.side), first_feature + low.feature);
  const Scales high_scales(gemm.weight(group, high.side), first_feature + high.feature);
  float totals[1][kRowTiles][4] = {};
  LeafStack<1, kRowTiles> stack;
  int stage = 0;
  for (SlabCursor<kSliceFeatures> cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
    wait_for_copies<Tile::kStages - 2>();
    publish_operands();
    __syncthreads();
    unsigned char* const slice = stages + stage * Tile::kBytes;
    float sums[kRows / 2];
    Tile::begin_slice(slice, warpgroup, sums);
    // While that goes on. Everybody is done with the slice before this one, whose place it takes.
    copy_next((stage + Tile::kStages - 1) % Tile::kStages);
    const float weight_scales[2] = {low_scales.at(cursor.slab().begin),
                                    high_scales.at(cursor.slab().begin)};
    wait_for_products(sums);
    if constexpr (Tile::kHasScales) {
      Tile::add_scaled(slice, weight_scales, sums, totals);
    } else {
      each_sum<1, kRowTiles>([&](int m, int n, int i) { totals[m][n][i] += sums[4 * n + i]; });
    }
    if (Gemm::kSum != GemmSum::kWhole && cursor.ends_leaf()) {
      if constexpr (Gemm::kSum == GemmSum::kTree) stack.push(cursor.leaf(), totals);
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        each_output([&](int row, std::int64_t feature, int n, int i) {
          gemm.store_leaf(group, row, feature, cursor.leaf(), totals[0][n][i]);
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

/// The smallest tile that has so many rows: of 8, 32, 64, 128 or 160, in BF16 of 64 and more.
template <typename Gemm, int kWarpgroups, int kRows>
__device__ void multiply_rows(const Gemm& gemm, const typename Gemm::Group& group,
                              std::int64_t first_feature, int first_row, int num_rows) {
  constexpr bool kIsFloat8 = std::is_same_v<typename Gemm::Weight, Float8E4M3>;
  constexpr int kFewer = kRows > 128 ? 128 : kRows > 64 || !kIsFloat8 ? 64 : kRows > 32 ? 32 : 8;
  if constexpr (kRows > kFewer) {
    if (num_rows <= kFewer) {
      return multiply_rows<Gemm, kWarpgroups, kFewer>(gemm, group, first_feature, first_row,
                                                      num_rows);
    }
  }
  multiply_warpgroup_tile<Gemm, kWarpgroups, kRows>(gemm, group, first_feature, first_row);
}

/// Rows of each tile of a group: 128 of the 160 that a tile may have, where that takes as many
/// tiles. How many a group of known size is to have the grid says.
template <typename Group, int kRows>
__device__ int tile_rows(const Group& group) {
  if constexpr (kRows <= 128) return kRows;
  const int num_tiles =
      Group::kIsKnown ? static_cast<int>(gridDim.y) : (group.num_rows + kRows - 1) / kRows;
  return group.num_rows <= 128 * num_tiles ? 128 : kRows;
}

/// Grid: features / (64 kWarpgroups / sides), tiles of rows (a block takes every gridDim.y-th),
/// groups of rows.
template <typename Gemm, int kWarpgroups, int kRows>
__global__ void __launch_bounds__(
    WarpgroupTile<typename Gemm::Weight, kWarpgroups, kRows>::kThreads)
    warpgroup_gemm_kernel(const __grid_constant__ Gemm gemm) {
  take_turn();
  if constexpr (kHasWarpgroupProducts) {
    constexpr int kFeatures = kWarpgroups * kWarpgroupRows / Gemm::kSides;
    const typename Gemm::Group group = gemm.group(static_cast<int>(blockIdx.z));
    const int rows = tile_rows<typename Gemm::Group, kRows>(group);
    for (int row = static_cast<int>(blockIdx.y) * rows; row < group.num_rows;
         row += static_cast<int>(gridDim.y) * rows) {
      const int rows_left = group.num_rows - row;
      multiply_rows<Gemm, kWarpgroups, kRows>(gemm, group, std::int64_t{blockIdx.x} * kFeatures,
                                              row, rows_left < rows ? rows_left : rows);
    }
  }
}

}  // namespace dsl::cuda
