// Reads and writes elements of any dtype as float32, one row at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor/views.h"

namespace dsl::ref {

/// Elements [first, first + count) of a kF32, kBF16 or kF16 array, as float32.
void decode(const void* data, DType dtype, std::int64_t first, std::int64_t count, float* out);

/// Row `row` of a weight, with its block scales applied: out[in_features].
void decode_row(const WeightView& weight, std::int64_t row, float* out);

/// Row `row` of a matrix of activations: out[cols].
void decode_row(const Matrix& matrix, std::int64_t row, float* out);

/// All rows: [rows, cols] without gaps.
std::vector<float> decode_all(const Matrix& matrix);
std::vector<float> decode_all(const VectorView& vector);

/// Rounds one value to the dtype of the matrix and stores it.
void store(const Matrix& matrix, std::int64_t row, std::int64_t col, float value);

/// The value as an activation of that dtype would hold it.
float rounded_to(DType dtype, float value);

}  // namespace dsl::ref
