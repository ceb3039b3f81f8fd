#include "engine/tensor/views.h"

#include <cstddef>

namespace dsl {
namespace {

const void* advanced(const void* data, DType dtype, std::int64_t elements) {
  return static_cast<const std::byte*>(data) + elements * static_cast<std::int64_t>(size_of(dtype));
}

void* advanced(void* data, DType dtype, std::int64_t elements) {
  return static_cast<std::byte*>(data) + elements * static_cast<std::int64_t>(size_of(dtype));
}

void check_range(std::int64_t first, std::int64_t count, std::int64_t size) {
  DSL_CHECK(first >= 0 && count >= 0 && first <= size && count <= size - first,
            "range [{}, +{}) of {}", first, count, size);
}

template <typename T>
MatrixView<T> typed(const Matrix& matrix, DType expected) {
  DSL_CHECK(matrix.dtype == expected, "matrix is {}, used as {}", name_of(matrix.dtype),
            name_of(expected));
  return {static_cast<T*>(matrix.data), matrix.rows, matrix.cols, matrix.row_stride};
}

/// Blocks that the elements [first, first + count) touch.
std::int64_t blocks_touched(std::int64_t first, std::int64_t count, std::int64_t block) {
  return count == 0 ? 0 : (first + count - 1) / block - first / block + 1;
}

}  // namespace

template <>
MatrixView<float> Matrix::as<float>() const {
  return typed<float>(*this, DType::kF32);
}

template <>
MatrixView<BFloat16> Matrix::as<BFloat16>() const {
  return typed<BFloat16>(*this, DType::kBF16);
}

Matrix Matrix::rows_from(std::int64_t first, std::int64_t count) const {
  check_range(first, count, rows);
  return {advanced(data, dtype, first * row_stride), dtype, count, cols, row_stride};
}

Matrix Matrix::cols_from(std::int64_t first, std::int64_t count) const {
  check_range(first, count, cols);
  return {advanced(data, dtype, first), dtype, rows, count, row_stride};
}

WeightView WeightView::rows_from(std::int64_t first, std::int64_t count) const {
  check_range(first, count, out_features);
  WeightView shard = *this;
  shard.data = advanced(data, dtype, first * row_stride);
  shard.out_features = count;
  if (dtype == DType::kF8E4M3) {
    const std::int64_t row = scales.first_row + first;
    const std::int64_t block = row / scales.block_rows;
    shard.scales.data = advanced(scales.data, scales.dtype, block * scales.row_stride);
    shard.scales.first_row = static_cast<std::int32_t>(row % scales.block_rows);
  }
  return shard;
}

WeightView WeightView::cols_from(std::int64_t first, std::int64_t count) const {
  check_range(first, count, in_features);
  WeightView shard = *this;
  shard.data = advanced(data, dtype, first);
  shard.in_features = count;
  if (dtype == DType::kF8E4M3) {
    const std::int64_t col = scales.first_col + first;
    shard.scales.data = advanced(scales.data, scales.dtype, col / scales.block_cols);
    shard.scales.first_col = static_cast<std::int32_t>(col % scales.block_cols);
  }
  return shard;
}

std::int64_t WeightView::bytes() const {
  std::int64_t total = out_features * in_features * static_cast<std::int64_t>(size_of(dtype));
  if (dtype == DType::kF8E4M3) {
    total += blocks_touched(scales.first_row, out_features, scales.block_rows) *
             blocks_touched(scales.first_col, in_features, scales.block_cols) *
             static_cast<std::int64_t>(size_of(scales.dtype));
  }
  return total;
}

}  // namespace dsl
