// The order in which tensor cores add up the input features of a linear layer.
//
// Every kernel on tensor cores cuts a leaf into slices of kSliceFeatures, lets the cores add up a
// slice from zero, multiplies that by the scale of the slice's weights (of quantised inputs by the
// product of this and the row's scale), and adds the slices up in ascending order. So an output has
// the same bits whichever kernel computes it, and for however many rows.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/leaves.cuh"
#include "engine/tensor/views.h"

namespace dsl::cuda {

/// The width of DeepSeek's scale blocks, so that a slice has one scale.
inline constexpr int kSliceFeatures = 128;

/// Consecutive input features.
struct FeatureRange {
  std::int64_t begin = 0;
  int count = 0;
};

struct Slices {
  LeafBounds leaves;
  /// Of the first slice of a leaf, the features that precede the leaf: scale blocks begin at
  /// multiples of kSliceFeatures of the whole weight, whatever shard or leaf this is.
  int missing[kNumLeaves] = {};
  int first[kNumLeaves + 1] = {};  // a leaf's first slice; behind the last, the number of slices

  __host__ __device__ int num_slices() const { return first[leaves.num_leaves]; }
  __host__ __device__ int leaf_of(int slice) const {
    int leaf = 0;
    while (first[leaf + 1] <= slice) ++leaf;
    return leaf;
  }
  __host__ __device__ FeatureRange range(int leaf, int slice) const {
    const std::int64_t base =
        leaves.begin[leaf] - missing[leaf] + std::int64_t{slice - first[leaf]} * kSliceFeatures;
    const std::int64_t begin = base > leaves.begin[leaf] ? base : leaves.begin[leaf];
    const std::int64_t end = base + kSliceFeatures < leaves.begin[leaf + 1]
                                 ? base + kSliceFeatures
                                 : leaves.begin[leaf + 1];
    return {begin, static_cast<int>(end - begin)};
  }
};

inline Slices slices_of(const WeightView& w, const LeafBounds& leaves) {
  Slices slices;
  slices.leaves = leaves;
  for (int i = 0; i < leaves.num_leaves; ++i) {
    const std::int64_t begin = leaves.begin[i];
    if (w.dtype == DType::kF8E4M3) {
      slices.missing[i] = static_cast<int>((begin + w.scales.first_col) % kSliceFeatures);
    }
    slices.first[i + 1] =
        slices.first[i] + static_cast<int>(blocks_for(
                              leaves.begin[i + 1] - begin + slices.missing[i], kSliceFeatures));
  }
  return slices;
}

}  // namespace dsl::cuda
