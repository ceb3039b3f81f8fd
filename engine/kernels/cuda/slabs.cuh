// Slabs of both operands of a tiled product in shared memory: how they lie there and how they are
// copied.
#pragma once

#include <type_traits>

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/slab_cursor.cuh"

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

/// One stage of shared memory: kTiledWeightRows rows of weights, then the rows of activations, and
/// of quantised ones their scales. The order of 16-byte chunks in a row is such that the 8 lanes
/// that the hardware serves at once, of two rows, meet different banks.
template <typename W, typename X, int kRows>
struct SlabLayout {
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
    const int place = sizeof(W) == 1 ? chunk : chunk ^ (row & 1) << 2;
    return reinterpret_cast<Wide*>(stage) + row * kWeightChunks + place;
  }
  __device__ static Wide* activation(unsigned char* stage, int row, int chunk) {
    // Beside codes a lane takes chunks 2t and 2t + 1, else t and t + 4; of codes, as of weights.
    const int place = sizeof(X) == 1   ? chunk
                      : sizeof(W) == 1 ? chunk ^ (row & 1)
                                       : chunk ^ (row & 1) << 2;
    return reinterpret_cast<Wide*>(stage + kWeightBytes) + row * kRowChunks + place;
  }
  __device__ static float* scales(unsigned char* stage) {
    return reinterpret_cast<float*>(stage + kScalesAt);
  }
};

template <typename W, typename X, int kRowTiles>
constexpr std::size_t tiled_shared_bytes() {
  return kSlabStages * SlabLayout<W, X, tiled_rows<kRowTiles>()>::kBytes;
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

/// A thread's part of every copy of a tile's slabs.
template <typename Gemm, int kRowTiles>
class SlabCopier {
  using W = typename Gemm::Weight;
  using X = typename Gemm::Activation;
  static constexpr int kRows = tiled_rows<kRowTiles>();
  using Layout = SlabLayout<W, X, kRows>;
  static constexpr int kWeightCopies =
      kTiledWeightRows * Layout::kWeightChunks / int{kTiledThreads};
  static constexpr int kRowCopies = kRows * Layout::kRowChunks / int{kTiledThreads};

 public:
  __device__ SlabCopier(const Gemm& gemm, const typename Gemm::Group& group,
                        std::int64_t first_feature, int first_row) {
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const TiledWeightRow<Gemm::kSides> row(index(i) / Layout::kWeightChunks);
      weights_[i] = weight_row<W>(gemm.weight(group, row.side), first_feature + row.feature);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int row = first_row + index(i) / Layout::kRowChunks;
      rows_[i] = row < group.num_rows ? gemm.row(group, row) : nullptr;
    }
    if constexpr (Layout::kHasScales) {
      const int row = first_row + static_cast<int>(threadIdx.x);
      const bool is_row = static_cast<int>(threadIdx.x) < kRows && row < group.num_rows;
      scaled_row_ = is_row ? static_cast<int>(gemm.input_row(group, row)) : -1;
    }
  }

  __device__ void copy(const Gemm& gemm, const SlabCursor<kSlabFeatures>& cursor,
                       unsigned char* stage) const {
    const FeatureRange slab = cursor.slab();
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const int chunk = index(i) % Layout::kWeightChunks;
      constexpr int kElements = kWideBytes / static_cast<int>(sizeof(W));
      copy_chunk(Layout::weight(stage, index(i) / Layout::kWeightChunks, chunk),
                 weights_[i] == nullptr ? nullptr : weights_[i] + slab.begin + chunk * kElements,
                 slab.count - chunk * kElements);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int chunk = index(i) % Layout::kRowChunks;
      constexpr int kElements = kWideBytes / static_cast<int>(sizeof(X));
      copy_chunk(Layout::activation(stage, index(i) / Layout::kRowChunks, chunk),
                 rows_[i] == nullptr ? nullptr : rows_[i] + slab.begin + chunk * kElements,
                 slab.count - chunk * kElements);
    }
    if constexpr (Layout::kHasScales) {
      if (scaled_row_ >= 0) {
        copy_float_async(Layout::scales(stage) + threadIdx.x,
                         gemm.inputs.scale(scaled_row_, cursor.slice()));
      }
    }
  }

 private:
  __device__ static int index(int i) {
    return static_cast<int>(threadIdx.x) + i * int{kTiledThreads};
  }

  const W* weights_[kWeightCopies];
  const X* rows_[kRowCopies];
  int scaled_row_ = -1;  // whose scale this thread copies
};

}  // namespace dsl::cuda
