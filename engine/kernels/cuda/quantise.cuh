// Rows of activations become E4M3 codes with a scale for every slice, or float32 of the same values
// (engine/kernels/quantised_inputs.h).
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/quantise.h"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/quantised_inputs.h"

namespace dsl::cuda {

static_assert(kInputGroupFeatures == kSliceFeatures);

/// Lanes that take a slice, consecutive features each: two slices a warp.
inline constexpr int kSliceLanes = kSliceFeatures / kGroupSize;
inline constexpr unsigned kQuantiseThreads = 256;
/// Slices of a row that a block takes.
inline constexpr int kQuantiseSlices = kQuantiseThreads / kSliceLanes;
inline constexpr int kCodeWords = kGroupSize / 4;

/// A lane's part of a slice. All lanes of a warp make theirs together.
template <typename X>
class QuantisedGroup {
 public:
  __device__ QuantisedGroup(const X* row, const FeatureRange& slice) {
    const int skipped = thread_index() % kSliceLanes * kGroupSize;
    const int left = slice.count - skipped;
    first_ = slice.begin + skipped;
    count_ = left < 0 ? 0 : left < kGroupSize ? left : kGroupSize;
    load_group(row + first_, count_, values_);
    constexpr std::uint32_t kInfinity = 0x7f800000u;
    std::uint32_t largest_bits = 0;
#pragma unroll
    for (int i = 0; i < kGroupSize; ++i) {
      // Of magnitudes the order is that of their bits, NaN beyond infinity.
      keep_larger(largest_bits, __float_as_uint(values_[i]) & 0x7fffffffu);
    }
#pragma unroll
    for (int distance = kSliceLanes / 2; distance > 0; distance /= 2) {
      keep_larger(largest_bits, __shfl_xor_sync(kAllLanes, largest_bits, distance));
    }
    is_finite_ = largest_bits < kInfinity;
    const float scale = __uint_as_float(largest_bits) / kLargestCode;
    scale_ = scale == 0 ? 1.0f : is_finite_ ? scale : __builtin_nanf("");
  }

  __device__ float scale() const { return scale_; }
  __device__ std::int64_t first() const { return first_; }
  /// Of this lane, kGroupSize at most.
  __device__ int count() const { return count_; }
  /// Four in each word, the first in the lowest byte.
  __device__ void encode_to(std::uint32_t (&codes)[kCodeWords]) const {
#pragma unroll
    for (int i = 0; i < kCodeWords; ++i) {
      const auto pair = [&](int first) {
        return std::uint32_t{encode_pair(values_[first] / scale_, values_[first + 1] / scale_)};
      };
      codes[i] = is_finite_ ? pair(4 * i) | pair(4 * i + 2) << 16 : 0;
    }
  }

 private:
  __device__ static void keep_larger(std::uint32_t& value, std::uint32_t other) {
    value = value < other ? other : value;
  }

  std::int64_t first_;
  int count_;
  float values_[kGroupSize] = {};
  float scale_;
  bool is_finite_;
};

/// The slice of this thread, as its number; beyond the last for threads without one.
__device__ inline int thread_slice() {
  return static_cast<int>(blockIdx.y) * kQuantiseSlices + thread_index() / kSliceLanes;
}

/// Whether the warp has none.
__device__ inline bool is_idle_warp(const Slices& slices) {
  return thread_slice() - lane_index() / kSliceLanes >= slices.num_slices();
}

/// Without features where there is no such slice.
__device__ inline FeatureRange slice_range(const Slices& slices, int slice) {
  if (slice >= slices.num_slices()) return {};
  return slices.range(slices.leaf_of(slice), slice);
}

__device__ inline Float8E4M3 code_of(const std::uint32_t (&codes)[kCodeWords], int i) {
  return {static_cast<std::uint8_t>(codes[i / 4] >> 8 * (i % 4))};
}

/// Grid: rows, slices / kQuantiseSlices. `codes` and `scales` are those of `rows`.
template <typename X>
__global__ void quantise_kernel(Matrix x, const __grid_constant__ Slices slices, QuantisedRows rows,
                                Float8E4M3* codes, float* scales) {
  take_turn();
  if (is_idle_warp(slices)) return;
  const int slice = thread_slice();
  const std::int64_t row = blockIdx.x;
  const QuantisedGroup<X> group(row_of<const X>(x, row), slice_range(slices, slice));
  if (group.count() == 0) return;
  if (thread_index() % kSliceLanes == 0) {
    scales[slice * rows.scale_stride + row] = group.scale();
  }
  struct alignas(kGroupSize) Codes {
    std::uint32_t words[kCodeWords];
  };
  Codes all;
  group.encode_to(all.words);
  Float8E4M3* const to = codes + row * rows.row_stride + group.first();
  if (group.count() == kGroupSize && reinterpret_cast<std::uintptr_t>(to) % kGroupSize == 0) {
    *reinterpret_cast<Codes*>(to) = all;
    return;
  }
#pragma unroll
  for (int i = 0; i < kGroupSize; ++i) {
    if (i < group.count()) to[i] = code_of(all.words, i);
  }
}

/// The same values as float32. Grid: rows, slices / kQuantiseSlices.
template <typename X>
__global__ void quantised_floats_kernel(Matrix x, const __grid_constant__ Slices slices,
                                        Matrix out) {
  take_turn();
  if (is_idle_warp(slices)) return;
  const QuantisedGroup<X> group(row_of<const X>(x, blockIdx.x),
                                slice_range(slices, thread_slice()));
  std::uint32_t codes[kCodeWords];
  group.encode_to(codes);
  float* to = row_of<float>(out, blockIdx.x) + group.first();
#pragma unroll
  for (int i = 0; i < kGroupSize; ++i) {
    if (i < group.count()) to[i] = decode(code_of(codes, i)) * group.scale();
  }
}

}  // namespace dsl::cuda
