// Products with many rows of activations, limited by the tensor cores: slabs of both operands pass
// through shared memory, copied while earlier ones are multiplied.
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/slices.cuh"

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

/// One stage of shared memory: kTiledWeightRows rows of weights, then the rows of activations. The
/// order of 16-byte chunks in a row is such that the 8 lanes that the hardware serves at once, of
/// two rows, meet different banks.
template <typename W, int kRows>
struct SlabLayout {
  static constexpr int kWeightChunks = kSlabFeatures * static_cast<int>(sizeof(W)) / kWideBytes;
  static constexpr int kRowChunks = kSlabFeatures * 2 / kWideBytes;
  static constexpr std::size_t kWeightBytes =
      std::size_t{kTiledWeightRows} * kWeightChunks * kWideBytes;
  static constexpr std::size_t kBytes = kWeightBytes + std::size_t{kRows} * kRowChunks * kWideBytes;

  __device__ static Wide* weight(unsigned char* stage, int row, int chunk) {
    // Of codes, two rows fill the banks as they are.
    const int place = sizeof(W) == 1 ? chunk : chunk ^ (row & 1) << 2;
    return reinterpret_cast<Wide*>(stage) + row * kWeightChunks + place;
  }
  __device__ static Wide* activation(unsigned char* stage, int row, int chunk) {
    // Beside codes a lane takes chunks 2t and 2t + 1, else t and t + 4.
    const int place = sizeof(W) == 1 ? chunk ^ (row & 1) : chunk ^ (row & 1) << 2;
    return reinterpret_cast<Wide*>(stage + kWeightBytes) + row * kRowChunks + place;
  }
};

template <typename W, int kRowTiles>
constexpr std::size_t tiled_shared_bytes() {
  return kSlabStages * SlabLayout<W, tiled_rows<kRowTiles>()>::kBytes;
}

/// Walks over the slabs of all slices, in order.
class SlabCursor {
 public:
  __device__ explicit SlabCursor(const Slices& slices) : slices_(slices) { enter_slice(); }

  __device__ bool is_valid() const { return slice_ < slices_.num_slices(); }
  __device__ int leaf() const { return leaf_; }
  __device__ FeatureRange slab() const {
    const int left = range_.count - done_;
    return {range_.begin + done_, left < kSlabFeatures ? left : kSlabFeatures};
  }
  __device__ bool begins_slice() const { return done_ == 0; }
  __device__ bool ends_slice() const { return done_ + kSlabFeatures >= range_.count; }
  __device__ bool ends_leaf() const {
    return ends_slice() && slice_ + 1 == slices_.first[leaf_ + 1];
  }
  __device__ void advance() {
    if (!ends_slice()) {
      done_ += kSlabFeatures;
      return;
    }
    ++slice_;
    enter_slice();
  }

 private:
  __device__ void enter_slice() {
    done_ = 0;
    if (!is_valid()) return;
    while (slices_.first[leaf_ + 1] <= slice_) ++leaf_;
    range_ = slices_.range(leaf_, slice_);
  }

  const Slices& slices_;
  int leaf_ = 0;
  int slice_ = 0;
  int done_ = 0;  // features of the slice
  FeatureRange range_;
};

/// Begins to copy elements [0, count) of 16 bytes; what cannot be copied so is stored at once.
template <typename T>
__device__ void copy_chunk(Wide* to, const T* from, int count) {
  constexpr int kElements = kWideBytes / static_cast<int>(sizeof(T));
  const int valid = from == nullptr || count < 0 ? 0 : count < kElements ? count : kElements;
  if (valid > 0 && is_wide_aligned(from)) {
    copy_async(to, from, valid * static_cast<int>(sizeof(T)));
  } else {
    *to = load_wide(from, valid);
  }
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
  static constexpr int kRows = tiled_rows<kRowTiles>();
  using Layout = SlabLayout<W, kRows>;
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
  }

  __device__ void copy(const FeatureRange& slab, unsigned char* stage) const {
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
      constexpr int kElements = kWideBytes / 2;
      copy_chunk(Layout::activation(stage, index(i) / Layout::kRowChunks, chunk),
                 rows_[i] == nullptr ? nullptr : rows_[i] + slab.begin + chunk * kElements,
                 slab.count - chunk * kElements);
    }
  }

 private:
  __device__ static int index(int i) {
    return static_cast<int>(threadIdx.x) + i * int{kTiledThreads};
  }

  const W* weights_[kWeightCopies];
  const BFloat16* rows_[kRowCopies];
};

/// A warp's sums: 2 x 16 rows of weights and kRowTiles x 8 rows of activations.
template <typename W, int kRowTiles>
struct WarpSums {
  float sums[2][kRowTiles][4] = {};
  bool has_nan[2][2] = {};

  /// Adds the slice's sums to `totals`, and begins with the next.
  __device__ void move_to(float (&totals)[2][kRowTiles][4], const float (&scales)[2][2]) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool is_nan = is_nan_row<W>(has_nan[m][i / 2]);
#pragma unroll
        for (int n = 0; n < kRowTiles; ++n) {
          totals[m][n][i] += is_nan ? kNotANumber : sums[m][n][i] * scales[m][i / 2];
          sums[m][n][i] = 0;
        }
      }
      has_nan[m][0] = has_nan[m][1] = false;
    }
  }

  __device__ void multiply(unsigned char* stage, int first_weight, int first_row) {
    using Layout = SlabLayout<W, tiled_rows<kRowTiles>()>;
    using Features = LaneFeatures<Operand<W>::kProducts>;
    constexpr int kSteps = kSlabFeatures / (4 * Operand<W>::kLaneFeatures);
    constexpr int kRowChunksOfLane = Operand<W>::kLaneFeatures / 8;
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
        Features x;
#pragma unroll
        for (int i = 0; i < kRowChunksOfLane; ++i) {
          const Wide wide = *Layout::activation(stage, first_row + n * kTileCols + g,
                                                (step * 4 + t) * kRowChunksOfLane + i);
#pragma unroll
          for (int j = 0; j < 4; ++j) x.pairs[2 * i + j / 2][j % 2] = wide.words[j];
        }
#pragma unroll
        for (int m = 0; m < 2; ++m) multiply_features(weights[m][0], weights[m][1], x, sums[m][n]);
      }
    }
  }
};

template <int kRowTiles>
__device__ void clear(float (&totals)[2][kRowTiles][4]) {
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles * 4; ++i)
    totals[i / (kRowTiles * 4)][i / 4 % kRowTiles][i % 4] = 0;
}

/// The leaves of a warp's outputs that are complete, joined as far as their tree allows: like the
/// bits of a counter of leaves. It lies in local memory, which is reached once a leaf.
template <int kRowTiles>
class LeafStack {
 public:
  __device__ void push(int leaf, float (&total)[2][kRowTiles][4]) {
    int level = 0;
    for (; (leaf >> level & 1) != 0; ++level) {
      each([&](int m, int n, int i) { total[m][n][i] = levels_[level][m][n][i] + total[m][n][i]; });
    }
    each([&](int m, int n, int i) { levels_[level][m][n][i] = total[m][n][i]; });
  }

 private:
  template <typename Work>
  __device__ static void each(const Work& work) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) work(m, n, i);
      }
    }
  }

  float levels_[4][2][kRowTiles][4];
};

/// A tile of outputs: all its input features.
template <typename Gemm, int kRowTiles>
__device__ void multiply_tile(const Gemm& gemm, const typename Gemm::Group& group,
                              std::int64_t first_feature, int first_row) {
  using W = typename Gemm::Weight;
  constexpr std::size_t kStageBytes = SlabLayout<W, tiled_rows<kRowTiles>()>::kBytes;
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

  const SlabCopier<Gemm, kRowTiles> copier(gemm, group, first_feature, first_row);
  SlabCursor copied(gemm.slices());
  const auto copy_next = [&](int stage) {
    if (copied.is_valid()) {
      copier.copy(copied.slab(), shared_bytes + stage * kStageBytes);
      copied.advance();
    }
    commit_copies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < kSlabStages; ++stage) copy_next(stage);

  float totals[2][kRowTiles][4] = {};
  LeafStack<kRowTiles> stack;
  WarpSums<W, kRowTiles> slice;
  float scales[2][2];
  int stage = 0;
  for (SlabCursor cursor(gemm.slices()); cursor.is_valid(); cursor.advance()) {
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
          scales[m][half] = slice_scale<W>(gemm.weight(group, row.side),
                                           first_feature + row.feature, cursor.slab().begin);
        }
      }
    }
    slice.multiply(shared_bytes + stage * kStageBytes, first_weight, warp_row);
    if (cursor.ends_slice()) slice.move_to(totals, scales);
    if (Gemm::kSum != GemmSum::kWhole && cursor.ends_leaf()) {
      if constexpr (Gemm::kSum == GemmSum::kTree) stack.push(cursor.leaf(), totals);
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        each_output([&](int row, std::int64_t feature, int m, int n, int i) {
          gemm.add_leaf(group, row, feature, cursor.leaf(), totals[m][n][i]);
        });
      }
      const bool is_last = cursor.leaf() + 1 == gemm.slices().leaves.num_leaves;
      if (Gemm::kSum == GemmSum::kLeaves || !is_last) clear(totals);
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
  constexpr int kRows = tiled_rows<kRowTiles>();
  const typename Gemm::Group group = gemm.group(static_cast<int>(blockIdx.z));
  for (int row = static_cast<int>(blockIdx.y) * kRows; row < group.num_rows;
       row += static_cast<int>(gridDim.y) * kRows) {
    multiply_tile<Gemm, kRowTiles>(gemm, group,
                                   std::int64_t{blockIdx.x} * tiled_features<Gemm::kSides>(), row);
  }
}

}  // namespace dsl::cuda
