// Rows of activations in FP8, as the products on tensor cores take them.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace dsl::cuda {

/// A row's codes are contiguous; features of one slice (slices.cuh) share one scale of the row. A
/// value is code * scale. Codes are never NaN: where a slice of a row has no finite maximum, its
/// scale is NaN and its codes are zeros. Non-owning.
struct QuantisedRows {
  const Float8E4M3* codes = nullptr;  // [rows, features]
  std::int64_t row_stride = 0;        // codes; a multiple of 16, and rows begin at 16 bytes
  const float* scales = nullptr;      // [slices, rows]: a tile reads those of many rows
  std::int64_t scale_stride = 0;      // floats; a multiple of 4, and slices begin at 16 bytes
};

}  // namespace dsl::cuda
