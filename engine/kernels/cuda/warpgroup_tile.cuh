// Tiles of products of activations and weights that are both in FP8 or both in BF16, on Hopper: the
// warps of a group multiply a whole slice at once, from shared memory.
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

/// A tile of kWarpgroups * 64 rows of weights and kTileRows rows of activations, both of T, and its
/// stages of shared memory. A stage holds a slice as slabs as wide as the swizzle, one of codes or
/// two of BF16: rows of weights, rows of activations, of quantised ones their scales.
template <typename T, int kWarpgroups, int kTileRows>
struct WarpgroupTile {
  /// Of the warpgroup that copies, the block's first; the others multiply.
  static constexpr int kThreads = kWarpgroupSize;
  static constexpr int kBlockThreads = (1 + kWarpgroups) * kWarpgroupSize;
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
  static constexpr int kStages = kHasScales ? 6 : kRows <= 64 ? 4 : 3;

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

}  // namespace dsl::cuda
