// The order in which the input features of a product pass through shared memory, a slab at a time.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

/// Walks over the slabs of all slices, in order: kFeatures each, fewer at the end of a slice.
template <int kFeatures>
class SlabCursor {
 public:
  __device__ explicit SlabCursor(const Slices& slices) : slices_(slices) { enter_slice(); }

  __device__ bool is_valid() const { return slice_ < slices_.num_slices(); }
  __device__ int leaf() const { return leaf_; }
  __device__ int slice() const { return slice_; }
  __device__ FeatureRange slab() const {
    const int left = range_.count - done_;
    return {range_.begin + done_, left < kFeatures ? left : kFeatures};
  }
  __device__ bool begins_slice() const { return done_ == 0; }
  __device__ bool ends_slice() const { return done_ + kFeatures >= range_.count; }
  __device__ bool ends_leaf() const {
    return ends_slice() && slice_ + 1 == slices_.first[leaf_ + 1];
  }
  __device__ void advance() {
    if (!ends_slice()) {
      done_ += kFeatures;
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

}  // namespace dsl::cuda
