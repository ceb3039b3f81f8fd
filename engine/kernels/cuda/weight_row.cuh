// Rows of stored weights on the device.
#pragma once

#include <cstdint>
#include <type_traits>

#include "engine/kernels/cuda/scalars.cuh"
#include "engine/tensor/views.h"

namespace dsl::cuda {

/// Scale `i` of a weight's blocks, counted from the first that is stored.
__device__ inline float block_scale_at(const BlockScales& scales, std::int64_t i) {
  return scales.dtype == DType::kF32 ? static_cast<const float*>(scales.data)[i]
                                     : decode(static_cast<const Float8E8M0*>(scales.data)[i]);
}

/// One output feature of a weight of element type W.
template <typename W>
class WeightRow {
 public:
  __device__ WeightRow(const WeightView& weight, std::int64_t row)
      : data_(static_cast<const W*>(weight.data) + row * weight.row_stride) {}

  /// Elements [first, first + count), count <= kGroupSize.
  __device__ void load(std::int64_t first, int count, float (&values)[kGroupSize]) const {
    load_group(data_ + first, count, values);
  }
  __device__ float at(std::int64_t i) const { return decode(data_[i]); }

 private:
  const W* data_;
};

/// Block-scaled: an element's value is its code times its block's scale.
template <>
class WeightRow<Float8E4M3> {
 public:
  __device__ WeightRow(const WeightView& weight, std::int64_t row)
      : data_(static_cast<const Float8E4M3*>(weight.data) + row * weight.row_stride),
        scales_(weight.scales),
        first_scale_((row + weight.scales.first_row) / weight.scales.block_rows *
                     weight.scales.row_stride) {}

  __device__ void load(std::int64_t first, int count, float (&values)[kGroupSize]) const {
    load_group(data_ + first, count, values);
    const std::int64_t block = block_of(first);
    if (block_of(first + count - 1) == block) {
      const float scale = scale_of(block);
      for (int i = 0; i < count; ++i) values[i] *= scale;
      return;
    }
    for (int i = 0; i < count; ++i) values[i] *= scale_of(block_of(first + i));
  }
  __device__ float at(std::int64_t i) const { return decode(data_[i]) * scale_of(block_of(i)); }
  __device__ float scale_at(std::int64_t i) const { return scale_of(block_of(i)); }

 private:
  __device__ std::int64_t block_of(std::int64_t i) const {
    return (i + scales_.first_col) / scales_.block_cols;
  }
  __device__ float scale_of(std::int64_t block) const {
    return block_scale_at(scales_, first_scale_ + block);
  }

  const Float8E4M3* data_;
  BlockScales scales_;
  std::int64_t first_scale_;
};

/// What the code of a row at feature `i` is multiplied by; 1 for weights without scales.
template <typename W>
__device__ float block_scale(const WeightView& weight, std::int64_t row, std::int64_t i) {
  if constexpr (std::is_same_v<W, Float8E4M3>) return WeightRow<W>(weight, row).scale_at(i);
  return 1;
}

}  // namespace dsl::cuda
