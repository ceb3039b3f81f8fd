// Rows of activations become E4M3 codes with a scale for every slice, or float32 of the same values
// (engine/kernels/quantised_inputs.h).
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/quantise.h"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/quantised_inputs.h"

namespace dsl::cuda {

static_assert(kInputGroupFeatures == kSliceFeatures);

/// Slices of a row that a block takes, one a warp.
inline constexpr int kQuantiseWarps = 8;
inline constexpr unsigned kQuantiseThreads = kQuantiseWarps * kWarpSize;
/// Consecutive features of a lane: a word of codes.
inline constexpr int kLaneCodes = kSliceFeatures / kWarpSize;

/// A slice of a row, by one warp.
template <typename X>
class QuantisedSlice {
 public:
  __device__ QuantisedSlice(const X* row, const FeatureRange& slice)
      : first_(slice.begin + lane_index() * kLaneCodes),
        count_(slice.count - lane_index() * kLaneCodes) {
    constexpr float kInfinity = __builtin_inff();
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kLaneCodes; ++i) {
      if (i >= count_) continue;
      values_[i] = decode(row[first_ + i]);
      const float magnitude = fabsf(values_[i]);
      largest = fmaxf(largest, magnitude < kInfinity ? magnitude : kInfinity);  // NaN too
    }
    largest = warp_max(largest);
    const float scale = largest / kLargestCode;
    scale_ = scale == 0 ? 1.0f : largest < kInfinity ? scale : __builtin_nanf("");
    is_finite_ = largest < kInfinity;
  }

  __device__ float scale() const { return scale_; }
  __device__ std::int64_t first() const { return first_; }
  /// Of this lane; may be negative, or more than it takes.
  __device__ int count() const { return count_; }
  __device__ Float8E4M3 code(int i) const {
    return is_finite_ ? encode<Float8E4M3>(values_[i] / scale_) : Float8E4M3{0};
  }

 private:
  std::int64_t first_;
  int count_;
  float values_[kLaneCodes] = {};
  float scale_;
  bool is_finite_;
};

/// The slice of this warp, as its number; beyond the last for warps without one.
__device__ inline int warp_slice() {
  return static_cast<int>(blockIdx.y) * kQuantiseWarps + warp_index();
}

__device__ inline FeatureRange slice_range(const Slices& slices, int slice) {
  return slices.range(slices.leaf_of(slice), slice);
}

/// Grid: rows, slices / kQuantiseWarps. `codes` and `scales` are those of `rows`.
template <typename X>
__global__ void quantise_kernel(Matrix x, const __grid_constant__ Slices slices, QuantisedRows rows,
                                Float8E4M3* codes, float* scales) {
  take_turn();
  const int slice = warp_slice();
  if (slice >= slices.num_slices()) return;
  const std::int64_t row = blockIdx.x;
  const QuantisedSlice<X> values(row_of<const X>(x, row), slice_range(slices, slice));
  if (lane_index() == 0) scales[slice * rows.scale_stride + row] = values.scale();
  Float8E4M3* to = codes + row * rows.row_stride + values.first();
  if (values.count() >= kLaneCodes && reinterpret_cast<std::uintptr_t>(to) % kLaneCodes == 0) {
    std::uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kLaneCodes; ++i) {
      word |= static_cast<std::uint32_t>(values.code(i).bits) << (8 * i);
    }
    *reinterpret_cast<std::uint32_t*>(to) = word;
    return;
  }
#pragma unroll
  for (int i = 0; i < kLaneCodes; ++i) {
    if (i < values.count()) to[i] = values.code(i);
  }
}

/// The same values as float32. Grid: rows, slices / kQuantiseWarps.
template <typename X>
__global__ void quantised_floats_kernel(Matrix x, const __grid_constant__ Slices slices,
                                        Matrix out) {
  take_turn();
  const int slice = warp_slice();
  if (slice >= slices.num_slices()) return;
  const QuantisedSlice<X> values(row_of<const X>(x, blockIdx.x), slice_range(slices, slice));
  float* to = row_of<float>(out, blockIdx.x) + values.first();
#pragma unroll
  for (int i = 0; i < kLaneCodes; ++i) {
    if (i < values.count()) to[i] = decode(values.code(i)) * values.scale();
  }
}

}  // namespace dsl::cuda
