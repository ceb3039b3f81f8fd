// Storing float32 values in a checkpoint's element types.
#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor/dtype.h"
#include "transport/base/bytes.h"

namespace dsl::checkpoint {

/// Rows and columns of the blocks that share a scale.
inline constexpr std::int64_t kScaleBlock = 128;

/// out[i] = values[i] rounded to nearest even as F32, BF16, F16 or F8_E8M0 (powers of two); out has
/// values.size() * size_of(dtype) bytes.
void encode(std::span<const float> values, DType dtype, MutableBytes out);

/// Block quantisation of one row of blocks: `values` [rows, cols] with rows <= 128 becomes e4m3
/// `out` [rows, cols] and one scale per 128 columns, scales [ceil(cols / 128)]. A scale is amax /
/// 448, or 1 for a block of zeros; a power of two not below that when `is_power_of_two`.
struct BlockRowShape {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  bool is_power_of_two = false;
};
void quantise_block_row(std::span<const float> values, const BlockRowShape& shape, MutableBytes out,
                        std::span<float> scales);

}  // namespace dsl::checkpoint
