// The order in which the input features of a product pass through shared memory, a slab at a time.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

/// Walks over the slabs of all slices, in order: kFeatures each, fewer at the end of a slice. It
/// looks at the table of leaves where one begins and counts otherwise, as a step may be all that
/// lies between two products. No leaf is empty.
template <int kFeatures>
class SlabCursor {
 public:
  __device__ explicit SlabCursor(const Slices& slices)
      : slices_(slices), begin_(slices.leaves.begin[0]), slices_left_(slices.num_slices()) {
    enter_leaf();
  }

  __device__ bool is_valid() const { return slices_left_ > 0; }
  __device__ int leaf() const { return leaf_; }
  __device__ int slice() const { return slice_; }
  __device__ FeatureRange slab() const { return {begin_, count()}; }
  __device__ bool begins_slice() const { return begins_slice_; }
  __device__ bool ends_slice() const { return slice_left_ <= kFeatures; }
  __device__ bool ends_leaf() const { return leaf_left_ == count(); }
  __device__ void advance() {
    const int passed = count();
    begin_ += passed;
    slice_left_ -= passed;
    leaf_left_ -= passed;
    begins_slice_ = slice_left_ == 0;
    if (!begins_slice_) return;
    ++slice_;
    --slices_left_;
    if (leaf_left_ > 0) {
      slice_left_ = leaf_left_ < kSliceFeatures ? leaf_left_ : kSliceFeatures;
    } else if (is_valid()) {
      ++leaf_;
      enter_leaf();
    }
  }

 private:
  __device__ int count() const { return slice_left_ < kFeatures ? slice_left_ : kFeatures; }
  __device__ void enter_leaf() {
    leaf_left_ = static_cast<int>(slices_.leaves.begin[leaf_ + 1] - begin_);
    const int whole = kSliceFeatures - slices_.missing[leaf_];
    slice_left_ = leaf_left_ < whole ? leaf_left_ : whole;
  }

  const Slices& slices_;
  std::int64_t begin_;  // of the slab
  int slices_left_;
  int slice_ = 0;
  int leaf_ = 0;
  int slice_left_;  // features from the slab to the end of the slice
  int leaf_left_;   // the same of the leaf
  bool begins_slice_ = true;
};

}  // namespace dsl::cuda
