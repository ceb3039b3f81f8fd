// What a thread adds up of a product with few rows.
#pragma once

#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

/// The sums of one output, which come slice by slice.
template <typename Gemm>
class SkinnyTotals {
 public:
  static constexpr int kSides = Gemm::kSides;

  /// Adds slices [begin, end): their sides' sums lie one behind the other, kStride apart.
  template <int kStride>
  __device__ void add(const Slices& slices, int begin, int end, const float* sums) {
    for (int first = begin; first < end; first += kSlicesAtOnce) {
      float next[kSlicesAtOnce][kSides];
#pragma unroll
      for (int i = 0; i < kSlicesAtOnce; ++i) {
#pragma unroll
        for (int side = 0; side < kSides; ++side) {
          const int at = ((first + i - begin) * kSides + side) * kStride;
          next[i][side] = first + i < end ? sums[at] : 0;
        }
      }
#pragma unroll
      for (int i = 0; i < kSlicesAtOnce; ++i) {
        if (first + i >= end) break;
        if (kHasLeaves && first + i == slices.first[leaf_ + 1]) end_leaf();
#pragma unroll
        for (int side = 0; side < kSides; ++side) sum_[side] += next[i][side];
      }
    }
  }

  /// Behind the last slice.
  __device__ void store(const Gemm& gemm, const typename Gemm::Group& group, int row,
                        std::int64_t feature) {
    if constexpr (kHasLeaves) {
      const int num_leaves = gemm.slices().leaves.num_leaves;
      leaves_[leaf_] = sum_[0];
      if constexpr (Gemm::kSum == GemmSum::kLeaves) {
        for (int leaf = 0; leaf < num_leaves; ++leaf) {
          gemm.store_leaf(group, row, feature, leaf, leaves_[leaf]);
        }
      } else {
        gemm.store(group, row, feature, {join_tree(leaves_, num_leaves)});
      }
    } else {
      gemm.store(group, row, feature, sum_);
    }
  }

 private:
  static constexpr bool kHasLeaves = Gemm::kSum != GemmSum::kWhole;
  static_assert(!kHasLeaves || kSides == 1);
  /// Slices that are read before any is added.
  static constexpr int kSlicesAtOnce = 8 / kSides;

  __device__ void end_leaf() {
    leaves_[leaf_++] = sum_[0];
    sum_[0] = 0;
  }

  float sum_[kSides] = {};  // of the leaf that has begun
  int leaf_ = 0;
  float leaves_[kNumLeaves];  // those that are complete; in local memory, written once a leaf
};

}  // namespace dsl::cuda
