#include "engine/kernels/cpu/dot_driver.h"

#include <cstddef>

namespace dsl::cpu {
namespace {

const std::byte* address(const void* data, DType dtype, std::int64_t element) {
  return static_cast<const std::byte*>(data) + element * static_cast<std::int64_t>(size_of(dtype));
}

float scale_at(const BlockScales& scales, std::int64_t index) {
  if (scales.dtype == DType::kF8E8M0) {
    return to_float(static_cast<const Float8E8M0*>(scales.data)[index]);
  }
  return static_cast<const float*>(scales.data)[index];
}

std::int64_t num_scale_cols(const WeightView& weight) {
  const BlockScales& scales = weight.scales;
  return (scales.first_col + weight.in_features + scales.block_cols - 1) / scales.block_cols;
}

/// Calls body(begin, end, block column) for the parts of features [begin, end) that have one scale
/// each.
template <typename Body>
void for_scale_blocks(const WeightView& weight, std::int64_t begin, std::int64_t end, Body body) {
  const BlockScales& scales = weight.scales;
  while (begin < end) {
    const std::int64_t block = (begin + scales.first_col) / scales.block_cols;
    const std::int64_t next = std::min(end, (block + 1) * scales.block_cols - scales.first_col);
    body(begin, next, block);
    begin = next;
  }
}

/// For each of the rows, its scales as float32; rows of one block share them.
const float* const* row_scales(const WeightView& weight, std::int64_t first, std::int64_t count,
                               Workspace& workspace) {
  const BlockScales& scales = weight.scales;
  const std::int64_t num_cols = num_scale_cols(weight);
  const auto** rows = workspace.allocate<const float*>(count);
  std::int64_t decoded_row = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = (first + i + scales.first_row) / scales.block_rows;
    if (row == decoded_row) {
      rows[i] = rows[i - 1];
      continue;
    }
    float* decoded = workspace.allocate<float>(num_cols);
    for (std::int64_t col = 0; col < num_cols; ++col) {
      decoded[col] = scale_at(scales, row * scales.row_stride + col);
    }
    rows[i] = decoded;
    decoded_row = row;
  }
  return rows;
}

}  // namespace

DType dot_element(const KernelTable& kernels, DType activation, DType weight) {
  const bool exact_in_bf16 = weight == DType::kBF16 || weight == DType::kF8E4M3;
  return kernels.dot_bf16 != nullptr && activation == DType::kBF16 && exact_in_bf16 ? DType::kBF16
                                                                                    : DType::kF32;
}

DType linear_element(const KernelTable& kernels, DType activation, const WeightView& weight) {
  return weight.quantised_inputs ? DType::kF32 : dot_element(kernels, activation, weight.dtype);
}

Reduction::Reduction(const WeightView& weight, DType element, const LeafSplit* split)
    : scaled_(weight.dtype == DType::kF8E4M3 && element == DType::kBF16) {
  const int num_leaves = split == nullptr ? 1 : split->num_leaves();
  leaf_segments_.push_back(0);
  for (int leaf = 0; leaf < num_leaves; ++leaf) {
    const std::int64_t begin = split == nullptr ? 0 : split->begin(leaf);
    const std::int64_t end = split == nullptr ? weight.in_features : split->begin(leaf + 1);
    const auto add = [&](std::int64_t first, std::int64_t last, std::int64_t block) {
      segments_.push_back({static_cast<std::int32_t>(first), static_cast<std::int32_t>(last),
                           static_cast<std::int32_t>(block)});
    };
    if (scaled_) {
      for_scale_blocks(weight, begin, end, add);
    } else if (begin < end) {
      add(begin, end, 0);
    }
    leaf_segments_.push_back(static_cast<std::int32_t>(segments_.size()));
  }
}

void Reduction::apply_to(DotArgs& args) const {
  args.segments = segments_.data();
  args.leaf_segments = leaf_segments_.data();
  args.num_leaves = num_leaves();
}

DotRows stored_rows(const WeightView& weight, std::int64_t first, std::int64_t count,
                    Workspace& workspace) {
  DotRows result;
  result.rows = workspace.allocate<const void*>(count);
  result.count = count;
  for (std::int64_t i = 0; i < count; ++i) {
    result.rows[i] = address(weight.data, weight.dtype, (first + i) * weight.row_stride);
  }
  if (weight.dtype == DType::kF8E4M3) result.scales = row_scales(weight, first, count, workspace);
  return result;
}

DotRows weight_rows(const KernelTable& kernels, const WeightView& weight, std::int64_t first,
                    std::int64_t count, DType element, Workspace& workspace) {
  DotRows result = stored_rows(weight, first, count, workspace);
  if (weight.dtype == element) return result;
  const std::int64_t cols = weight.in_features;
  // Rows begin on cache lines of their own.
  const std::int64_t row_bytes =
      (cols * static_cast<std::int64_t>(size_of(element)) + 63) / 64 * 64;
  std::byte* copy = workspace.allocate<std::byte>(count * row_bytes);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto* from = static_cast<const std::byte*>(result.rows[i]);
    std::byte* to = copy + i * row_bytes;
    result.rows[i] = to;
    if (element == DType::kBF16) {
      kernels.e4m3_to_bf16(reinterpret_cast<const Float8E4M3*>(from), cols,
                           reinterpret_cast<BFloat16*>(to));
    } else if (weight.dtype == DType::kF8E4M3) {
      for_scale_blocks(weight, 0, cols, [&](std::int64_t begin, std::int64_t end, std::int64_t b) {
        kernels.decode(from + begin, weight.dtype, end - begin, result.scales[i][b],
                       reinterpret_cast<float*>(to) + begin);
      });
    } else {
      kernels.decode(from, weight.dtype, cols, 1.0f, reinterpret_cast<float*>(to));
    }
  }
  return result;
}

DotRows activation_rows(const KernelTable& kernels, const void* const* rows, std::int64_t count,
                        std::int64_t num_cols, DType dtype, DType element, Workspace& workspace) {
  DotRows result;
  result.rows = workspace.allocate<const void*>(count);
  result.count = count;
  if (dtype == element) {
    std::copy_n(rows, count, result.rows);
    return result;
  }
  DSL_CHECK(element == DType::kF32, "activations of {} as {}", name_of(dtype), name_of(element));
  const std::int64_t stride = (num_cols + 15) / 16 * 16;
  float* copy = workspace.allocate<float>(count * stride);
  for (std::int64_t i = 0; i < count; ++i) {
    kernels.decode(rows[i], dtype, num_cols, 1.0f, copy + i * stride);
    result.rows[i] = copy + i * stride;
  }
  return result;
}

}  // namespace dsl::cpu
