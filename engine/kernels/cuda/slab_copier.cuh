// How slabs of both operands of a product come to shared memory.
//
// A `Layout` says where what lies in a stage of shared memory:
//   kThreads                       that copy, the first of a block
//   kWeightRows, kRows             of the tile
//   kWeightChunks, kRowChunks      16-byte chunks of a slab's row of either operand
//   kHasScales                     whether rows of activations have scales
//   WeightRow<sides>(row)          side and feature of a row of weights in the tile
//   weight(stage, row, chunk), activation(stage, row, chunk)  a chunk; eight rows further on the
//                                  order of chunks is the same
//   scales(stage)                  of the rows of activations
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/slices.cuh"
#include "engine/kernels/cuda/swizzle.cuh"

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

/// A thread's part of every copy of a tile's slabs. Of whole slabs whose rows begin at multiples of
/// 16 bytes, as most do, a chunk takes a handful of instructions: products last hardly longer than
/// what is executed beside them.
template <typename Gemm, typename Layout>
class SlabCopier {
  using W = typename Gemm::Weight;
  using X = typename Gemm::Activation;
  static constexpr int kWeightChunks = Layout::kWeightRows * Layout::kWeightChunks;
  static constexpr int kRowChunks = Layout::kRows * Layout::kRowChunks;
  static constexpr int kWeightCopies = kWeightChunks / Layout::kThreads;
  static constexpr int kRowCopies = (kRowChunks + Layout::kThreads - 1) / Layout::kThreads;
  static constexpr int kScaleCopies = (Layout::kRows + Layout::kThreads - 1) / Layout::kThreads;
  static_assert(kWeightChunks % Layout::kThreads == 0 && kWeightCopies + kRowCopies <= 32);
  /// Rows that all threads copy at once: each thread the same chunk of every so many rows.
  static constexpr int kWeightRowsAtOnce = Layout::kThreads / Layout::kWeightChunks;
  static constexpr int kRowsAtOnce = Layout::kThreads / Layout::kRowChunks;
  static_assert(kWeightRowsAtOnce % kSwizzleRows == 0 && kRowsAtOnce % kSwizzleRows == 0);
  static constexpr int kFeatures =
      Layout::kWeightChunks * kWideBytes / static_cast<int>(sizeof(W));  // of a whole slab
  /// A multiple of these, and 16-byte chunks of either operand begin there.
  static constexpr int kElements =
      kWideBytes / static_cast<int>(sizeof(W) < sizeof(X) ? sizeof(W) : sizeof(X));

 public:
  __device__ SlabCopier(const Gemm& gemm, const typename Gemm::Group& group,
                        std::int64_t first_feature, int first_row) {
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const typename Layout::template WeightRow<Gemm::kSides> row(
          thread_index() / Layout::kWeightChunks + i * kWeightRowsAtOnce);
      const WeightView& weight = gemm.weight(group, row.side);
      const W* const own = weight_row<W>(weight, first_feature + row.feature);
      const W* const any = own != nullptr ? own : weight_row<W>(weight, first_feature);
      weights_[i] = any + weight_chunk() * kOfChunk<W>;
      note(any, own != nullptr, i);
    }
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int row = first_row + thread_index() / Layout::kRowChunks + i * kRowsAtOnce;
      const bool is_there = row < group.num_rows;
      const X* const any = gemm.row(group, is_there ? row : first_row);
      rows_[i] = any + row_chunk() * kOfChunk<X>;
      note(any, is_there, kWeightCopies + i);
    }
    are_wide_ = __ballot_sync(kAllLanes, !are_wide_) == 0;
    if constexpr (Layout::kHasScales) {
#pragma unroll
      for (int i = 0; i < kScaleCopies; ++i) {
        const int in_tile = thread_index() + i * Layout::kThreads;
        const int row = first_row + in_tile;
        const bool is_row = in_tile < Layout::kRows && row < group.num_rows;
        scaled_rows_[i] = is_row ? static_cast<int>(gemm.input_row(group, row)) : -1;
      }
    }
  }

  /// Zeros stand for features behind the slab's; it may have none.
  __device__ void copy(const Gemm& gemm, const FeatureRange& slab, int slice,
                       unsigned char* stage) const {
    if (are_wide_ && slab.count >= kFeatures && slab.begin % kElements == 0) {
      copy_whole(slab.begin, stage);
    } else {
      copy_parts(slab, stage);
    }
    if constexpr (Layout::kHasScales) {
#pragma unroll
      for (int i = 0; i < kScaleCopies; ++i) {
        if (scaled_rows_[i] < 0) continue;
        copy_float_async(Layout::scales(stage) + thread_index() + i * Layout::kThreads,
                         gemm.inputs.scale(scaled_rows_[i], slice));
      }
    }
  }

 private:
  template <typename T>
  static constexpr int kOfChunk = kWideBytes / static_cast<int>(sizeof(T));

  __device__ static int weight_chunk() { return thread_index() % Layout::kWeightChunks; }
  __device__ static int row_chunk() { return thread_index() % Layout::kRowChunks; }
  /// Where this thread's first chunks go; the next ones lie kThreads chunks behind each other.
  __device__ static Wide* first_weight(unsigned char* stage) {
    return Layout::weight(stage, thread_index() / Layout::kWeightChunks, weight_chunk());
  }
  __device__ static Wide* first_row(unsigned char* stage) {
    return Layout::activation(stage, thread_index() / Layout::kRowChunks, row_chunk());
  }
  __device__ static bool has_row_chunk(int i) {
    return kRowChunks % Layout::kThreads == 0 || thread_index() + i * Layout::kThreads < kRowChunks;
  }
  __device__ void note(const void* row, bool is_there, int copy) {
    are_there_ |= is_there ? 1u << copy : 0u;
    are_wide_ = are_wide_ && is_wide_aligned(row);
  }
  __device__ bool is_there(int copy) const { return (are_there_ & 1u << copy) != 0; }

  __device__ void copy_whole(std::int64_t begin, unsigned char* stage) const {
    Wide* const weights = first_weight(stage);
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      copy_async(weights + i * Layout::kThreads, weights_[i] + begin, is_there(i) ? kWideBytes : 0);
    }
    Wide* const rows = first_row(stage);
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      if (!has_row_chunk(i)) continue;
      copy_async(rows + i * Layout::kThreads, rows_[i] + begin,
                 is_there(kWeightCopies + i) ? kWideBytes : 0);
    }
  }

  __device__ void copy_parts(const FeatureRange& slab, unsigned char* stage) const {
    Wide* const weights = first_weight(stage);
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      copy_row_chunk(weights + i * Layout::kThreads, is_there(i) ? weights_[i] : nullptr,
                     weight_chunk(), slab);
    }
    Wide* const rows = first_row(stage);
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      if (!has_row_chunk(i)) continue;
      copy_row_chunk(rows + i * Layout::kThreads, is_there(kWeightCopies + i) ? rows_[i] : nullptr,
                     row_chunk(), slab);
    }
  }
  /// `at`: the chunk in the row.
  template <typename T>
  __device__ static void copy_row_chunk(Wide* to, const T* at, int chunk,
                                        const FeatureRange& slab) {
    copy_chunk(to, at == nullptr ? nullptr : at + slab.begin, slab.count - chunk * kOfChunk<T>);
  }

  // This thread's chunk of each row; another row stands for one that is not there, for addresses.
  const W* weights_[kWeightCopies];
  const X* rows_[kRowCopies];
  std::uint32_t are_there_ = 0;    // a bit for each of them
  bool are_wide_ = true;           // aligned to 16 bytes, all of all lanes
  int scaled_rows_[kScaleCopies];  // whose scales this thread copies; negative: none
};

}  // namespace dsl::cuda
