// Non-owning views of matrices and weights; shape and dtype are checked once, where a view is made.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace dsl {

/// A typed row-major matrix [rows, cols]; element (r, c) is data[r * row_stride + c]. Non-owning.
template <typename T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;

  T* row(std::int64_t r) const { return data + r * row_stride; }
};

/// A row-major matrix of activations whose dtype is known at run time (kF32 or kBF16). Non-owning.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;

  /// The typed view; a wrong T is a bug and aborts.
  template <typename T>
  MatrixView<T> as() const;

  /// Rows [first, first + count).
  Matrix rows_from(std::int64_t first, std::int64_t count) const;
  /// Columns [first, first + count) of every row.
  Matrix cols_from(std::int64_t first, std::int64_t count) const;
};

template <>
MatrixView<float> Matrix::as<float>() const;
template <>
MatrixView<BFloat16> Matrix::as<BFloat16>() const;

/// Scales of a block-quantised weight. Element (r, c) of the weight is multiplied by
/// data[((r + first_row) / block_rows) * row_stride + (c + first_col) / block_cols].
/// first_row and first_col say where a shard begins inside its first block. Non-owning.
struct BlockScales {
  const void* data = nullptr;
  DType dtype = DType::kF32;  // kF32 or kF8E8M0
  std::int64_t row_stride = 0;
  std::int32_t block_rows = 128;
  std::int32_t block_cols = 128;
  std::int32_t first_row = 0;
  std::int32_t first_col = 0;
};

/// The weight of y = W x as stored: [out_features, in_features] row-major. Non-owning, read-only.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kBF16;  // kF32, kBF16, kF16 or kF8E4M3
  std::int64_t out_features = 0;
  std::int64_t in_features = 0;
  std::int64_t row_stride = 0;  // elements
  BlockScales scales;           // used by kF8E4M3 only
  /// Of kF8E4M3 with scale blocks of 128 columns: linears quantise the rows that they multiply with
  /// it (engine/kernels/quantised_inputs.h).
  bool quantised_inputs = false;

  /// The shard of rows [first, first + count), e.g. of a column-parallel linear.
  WeightView rows_from(std::int64_t first, std::int64_t count) const;
  /// The shard of columns [first, first + count), e.g. of a row-parallel linear.
  WeightView cols_from(std::int64_t first, std::int64_t count) const;
  /// Bytes that a full read of the view moves, scales included.
  std::int64_t bytes() const;
};

/// A one-dimensional parameter (norm weight, bias). Non-owning, read-only.
struct VectorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;  // kF32, kBF16 or kF16
  std::int64_t size = 0;
};

}  // namespace dsl
