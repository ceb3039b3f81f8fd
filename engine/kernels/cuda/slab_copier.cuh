// How slabs of both operands of a product come to shared memory.
//
// A `Layout` says where what lies in a stage of shared memory:
//   kThreads, kWeightRows, kRows   of a block and its tile
//   kWeightChunks, kRowChunks      16-byte chunks of a slab's row of either operand
//   kHasScales                     whether rows of activations have scales
//   WeightRow<sides>(row)          side and feature of a row of weights in the tile
//   weight(stage, row, chunk), activation(stage, row, chunk)  a chunk
//   scales(stage)                  of the rows of activations
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

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

/// A thread's part of every copy of a tile's slabs.
template <typename Gemm, typename Layout>
class SlabCopier {
  using W = typename Gemm::Weight;
  using X = typename Gemm::Activation;
  static constexpr int kWeightChunks = Layout::kWeightRows * Layout::kWeightChunks;
  static constexpr int kRowChunks = Layout::kRows * Layout::kRowChunks;
  static constexpr int kWeightCopies = kWeightChunks / Layout::kThreads;
  static constexpr int kRowCopies = (kRowChunks + Layout::kThreads - 1) / Layout::kThreads;
  static_assert(kWeightChunks % Layout::kThreads == 0);

 public:
  __device__ SlabCopier(const Gemm& gemm, const typename Gemm::Group& group,
                        std::int64_t first_feature, int first_row) {
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const typename Layout::template WeightRow<Gemm::kSides> row(index(i) / Layout::kWeightChunks);
      weights_[i] = weight_row<W>(gemm.weight(group, row.side), first_feature + row.feature);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int row = first_row + index(i) / Layout::kRowChunks;
      rows_[i] = row < group.num_rows ? gemm.row(group, row) : nullptr;
    }
    if constexpr (Layout::kHasScales) {
      const int row = first_row + static_cast<int>(threadIdx.x);
      const bool is_row = static_cast<int>(threadIdx.x) < Layout::kRows && row < group.num_rows;
      scaled_row_ = is_row ? static_cast<int>(gemm.input_row(group, row)) : -1;
    }
  }

  /// Zeros stand for features behind the slab's; it may have none.
  __device__ void copy(const Gemm& gemm, const FeatureRange& slab, int slice,
                       unsigned char* stage) const {
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const int chunk = index(i) % Layout::kWeightChunks;
      copy_row_chunk(Layout::weight(stage, index(i) / Layout::kWeightChunks, chunk), weights_[i],
                     chunk, slab);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      if (index(i) >= kRowChunks) continue;
      const int chunk = index(i) % Layout::kRowChunks;
      copy_row_chunk(Layout::activation(stage, index(i) / Layout::kRowChunks, chunk), rows_[i],
                     chunk, slab);
    }
    if constexpr (Layout::kHasScales) {
      if (scaled_row_ >= 0) {
        copy_float_async(Layout::scales(stage) + threadIdx.x,
                         gemm.inputs.scale(scaled_row_, slice));
      }
    }
  }

 private:
  __device__ static int index(int i) {
    return static_cast<int>(threadIdx.x) + i * Layout::kThreads;
  }
  template <typename T>
  __device__ static void copy_row_chunk(Wide* to, const T* row, int chunk,
                                        const FeatureRange& slab) {
    constexpr int kElements = kWideBytes / static_cast<int>(sizeof(T));
    copy_chunk(to, row == nullptr ? nullptr : row + slab.begin + chunk * kElements,
               slab.count - chunk * kElements);
  }

  const W* weights_[kWeightCopies];
  const X* rows_[kRowCopies];
  int scaled_row_ = -1;  // whose scale this thread copies
};

}  // namespace dsl::cuda
