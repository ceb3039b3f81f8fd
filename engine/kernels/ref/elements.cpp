#include "engine/kernels/ref/elements.h"

namespace dsl::ref {
namespace {

template <typename T>
void decode_as(const void* data, std::int64_t first, std::int64_t count, float* out) {
  const T* elements = static_cast<const T*>(data) + first;
  for (std::int64_t i = 0; i < count; ++i) out[i] = to_float(elements[i]);
}

float scale_at(const BlockScales& scales, std::int64_t index) {
  if (scales.dtype == DType::kF8E8M0) {
    return to_float(static_cast<const Float8E8M0*>(scales.data)[index]);
  }
  DSL_CHECK(scales.dtype == DType::kF32, "scales are {}", name_of(scales.dtype));
  return static_cast<const float*>(scales.data)[index];
}

}  // namespace

void decode(const void* data, DType dtype, std::int64_t first, std::int64_t count, float* out) {
  switch (dtype) {
    case DType::kF32:
      return decode_as<float>(data, first, count, out);
    case DType::kBF16:
      return decode_as<BFloat16>(data, first, count, out);
    case DType::kF16:
      return decode_as<Float16>(data, first, count, out);
    case DType::kF8E4M3:
      return decode_as<Float8E4M3>(data, first, count, out);
    default:
      DSL_CHECK(false, "{} is no dtype of numbers", name_of(dtype));
  }
}

void decode_row(const WeightView& weight, std::int64_t row, float* out) {
  decode(weight.data, weight.dtype, row * weight.row_stride, weight.in_features, out);
  if (weight.dtype != DType::kF8E4M3) return;
  const BlockScales& scales = weight.scales;
  const std::int64_t base = (row + scales.first_row) / scales.block_rows * scales.row_stride;
  for (std::int64_t col = 0; col < weight.in_features; ++col) {
    out[col] *= scale_at(scales, base + (col + scales.first_col) / scales.block_cols);
  }
}

void decode_row(const Matrix& matrix, std::int64_t row, float* out) {
  decode(matrix.data, matrix.dtype, row * matrix.row_stride, matrix.cols, out);
}

std::vector<float> decode_all(const Matrix& matrix) {
  std::vector<float> values(static_cast<std::size_t>(matrix.rows * matrix.cols));
  for (std::int64_t row = 0; row < matrix.rows; ++row) {
    decode_row(matrix, row, values.data() + row * matrix.cols);
  }
  return values;
}

std::vector<float> decode_all(const VectorView& vector) {
  std::vector<float> values(static_cast<std::size_t>(vector.size));
  decode(vector.data, vector.dtype, 0, vector.size, values.data());
  return values;
}

void store(const Matrix& matrix, std::int64_t row, std::int64_t col, float value) {
  const std::int64_t index = row * matrix.row_stride + col;
  if (matrix.dtype == DType::kBF16) {
    static_cast<BFloat16*>(matrix.data)[index] = to_bfloat16(value);
    return;
  }
  DSL_CHECK(matrix.dtype == DType::kF32, "activations are {}", name_of(matrix.dtype));
  static_cast<float*>(matrix.data)[index] = value;
}

float rounded_to(DType dtype, float value) {
  return dtype == DType::kBF16 ? to_float(to_bfloat16(value)) : value;
}

}  // namespace dsl::ref
