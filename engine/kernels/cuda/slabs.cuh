// Slabs of both operands of a tiled product, as they lie in shared memory.
#pragma once

#include <type_traits>

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/slab_copier.cuh"
#include "engine/kernels/cuda/swizzle.cuh"

namespace dsl::cuda {

/// Warps of a block: 4 along features, 2 along rows.
inline constexpr int kTiledFeatureWarps = 4;
inline constexpr int kTiledRowWarps = 2;
inline constexpr unsigned kTiledThreads = kTiledFeatureWarps * kTiledRowWarps * kWarpSize;
/// Rows of weights in a block's tile: 32 of each warp, all of one side or 16 of each.
inline constexpr int kTiledWeightRows = 32 * kTiledFeatureWarps;
/// Input features that are copied at once.
inline constexpr int kSlabFeatures = 64;
inline constexpr int kSlabStages = 4;

template <int kSides>
__host__ __device__ constexpr int tiled_features() {
  return kTiledWeightRows / kSides;
}
template <int kRowTiles>
__host__ __device__ constexpr int tiled_rows() {
  return kTiledRowWarps * kRowTiles * kTileCols;
}

/// The row of weights that is row `row` of a block's tile.
template <int kSides>
struct TiledWeightRow {
  int side;
  int feature;

  __device__ explicit TiledWeightRow(int row)
      : side(kSides == 1 ? 0 : row / 16 % 2),
        feature(kSides == 1 ? row : row / 32 * 16 + row % 16) {}
};

/// One stage of shared memory: kTiledWeightRows rows of weights, then the rows of activations, and
/// of quantised ones their scales. The order of 16-byte chunks in a row is such that what the
/// hardware reads at once meets different banks: of BF16 by BF16 a chunk of eight rows, beside
/// codes the chunks of 8 lanes, of two rows.
template <typename W, typename X, int kTileRowsOfBlock>
struct SlabLayout {
  static constexpr int kThreads = kTiledThreads;
  static constexpr int kWeightRows = kTiledWeightRows;
  static constexpr int kRows = kTileRowsOfBlock;
  template <int kSides>
  using WeightRow = TiledWeightRow<kSides>;
  static constexpr int kWeightChunks = kSlabFeatures * static_cast<int>(sizeof(W)) / kWideBytes;
  static constexpr int kRowChunks = kSlabFeatures * static_cast<int>(sizeof(X)) / kWideBytes;
  static constexpr std::size_t kWeightBytes =
      std::size_t{kTiledWeightRows} * kWeightChunks * kWideBytes;
  static constexpr std::size_t kScalesAt =
      kWeightBytes + std::size_t{kRows} * kRowChunks * kWideBytes;
  static constexpr bool kHasScales = std::is_same_v<X, Float8E4M3>;
  static constexpr std::size_t kBytes = kScalesAt + (kHasScales ? kRows * sizeof(float) : 0);

  __device__ static Wide* weight(unsigned char* stage, int row, int chunk) {
    // Of codes, two rows fill the banks as they are.
    const int place = sizeof(W) == 1 ? row * kWeightChunks + chunk : swizzled_chunk(row, chunk);
    return reinterpret_cast<Wide*>(stage) + place;
  }
  __device__ static Wide* activation(unsigned char* stage, int row, int chunk) {
    // Beside codes a lane takes chunks 2t and 2t + 1; of codes, as of weights.
    const int place = sizeof(X) == 1   ? row * kRowChunks + chunk
                      : sizeof(W) == 1 ? row * kRowChunks + (chunk ^ (row & 1))
                                       : swizzled_chunk(row, chunk);
    return reinterpret_cast<Wide*>(stage + kWeightBytes) + place;
  }
  __device__ static float* scales(unsigned char* stage) {
    return reinterpret_cast<float*>(stage + kScalesAt);
  }
};

template <typename W, typename X, int kRowTiles>
constexpr std::size_t tiled_shared_bytes() {
  return kSlabStages * SlabLayout<W, X, tiled_rows<kRowTiles>()>::kBytes;
}

}  // namespace dsl::cuda
