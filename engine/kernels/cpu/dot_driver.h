// Feeds rows of activations and of stored weights to the dot kernels: in place where the kernel
// reads their dtype, else through a small decoded copy that stays in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/kernels/cpu/kernel_table.h"
#include "engine/kernels/ops.h"
#include "engine/runtime/workspace.h"

namespace dsl::cpu {

/// The dtype in which a kernel multiplies activations and weights.
DType dot_element(const KernelTable& kernels, DType activation, DType weight);

/// How one dot product over a weight's input features is cut: into leaves, and leaves into parts
/// with one scale.
class Reduction {
 public:
  /// `element` is dot_element's answer: float32 kernels read scaled weights, BF16 kernels scale
  /// partial sums.
  Reduction(const WeightView& weight, DType element, const LeafSplit* split);

  int num_leaves() const { return static_cast<int>(leaf_segments_.size()) - 1; }
  bool scaled() const { return scaled_; }
  void apply_to(DotArgs& args) const;

 private:
  std::vector<Segment> segments_;
  std::vector<std::int32_t> leaf_segments_;
  bool scaled_ = false;
};

/// Pointers to rows that a dot kernel can read. Non-owning: scratch comes from the workspace's
/// current scope.
struct DotRows {
  const void** rows = nullptr;
  std::int64_t count = 0;
  const float* scales =
      nullptr;  // [count, scale_stride], BF16 kernels on block-quantised weights only
  std::int64_t scale_stride = 0;
};

/// Rows [first, first + count) of a weight.
DotRows weight_rows(const KernelTable& kernels, const WeightView& weight, std::int64_t first,
                    std::int64_t count, DType element, Workspace& workspace);

/// Rows of activations given by their addresses (num_cols elements of `dtype` each).
DotRows activation_rows(const KernelTable& kernels, const void* const* rows, std::int64_t count,
                        std::int64_t num_cols, DType dtype, DType element, Workspace& workspace);

/// Results of one call of a dot kernel: c[leaf][row][col] for rows first_row.. and features
/// first_col.. .
struct DotBlock {
  std::int64_t first_row = 0;
  std::int64_t num_rows = 0;
  std::int64_t first_col = 0;
  std::int64_t num_cols = 0;
  float* c = nullptr;
  std::int64_t leaf_stride = 0;
  std::int64_t row_stride = 0;

  float* row(std::int64_t r) const { return c + r * row_stride; }
};

/// Bytes of activations and of weights that one call of a dot kernel works on: together well inside
/// a 1 MiB L2.
inline constexpr std::int64_t kActivationBytes = 256 << 10;
inline constexpr std::int64_t kWeightBytes = 128 << 10;

/// Calls sink(DotBlock) until all rows x features [first, last) are done; features outside, so that
/// weights are read from memory once.
template <typename Sink>
void for_dot_blocks(const KernelTable& kernels, const DotRows& x, const WeightView& weight,
                    const Reduction& reduction, DType element, std::int64_t first,
                    std::int64_t last, Workspace& workspace, Sink sink) {
  const std::int64_t row_bytes =
      std::max<std::int64_t>(1, weight.in_features * static_cast<std::int64_t>(size_of(element)));
  const std::int64_t block_cols = std::clamp<std::int64_t>(kWeightBytes / row_bytes / 4 * 4, 8, 64);
  const std::int64_t block_rows =
      std::clamp<std::int64_t>(kActivationBytes / row_bytes / 4 * 4, 16, 128);
  for (std::int64_t col = first; col < last; col += block_cols) {
    const Workspace::Scope scope(workspace);
    const std::int64_t num_cols = std::min(block_cols, last - col);
    const DotRows features = weight_rows(kernels, weight, col, num_cols, element, workspace);
    for (std::int64_t row = 0; row < x.count; row += block_rows) {
      const Workspace::Scope block_scope(workspace);
      const std::int64_t num_rows = std::min(block_rows, x.count - row);
      DotBlock block{row, num_rows, col, num_cols, nullptr, num_rows * num_cols, num_cols};
      block.c = workspace.allocate<float>(reduction.num_leaves() * block.leaf_stride);
      DotArgs args;
      args.a_rows = x.rows + row;
      args.num_a = num_rows;
      args.b_rows = features.rows;
      args.num_b = num_cols;
      reduction.apply_to(args);
      if (reduction.scaled()) args.scaled_side = ScaledSide::kB;
      args.scales = features.scales;
      args.scale_stride = features.scale_stride;
      args.c = block.c;
      args.c_leaf_stride = block.leaf_stride;
      args.c_row_stride = block.row_stride;
      (element == DType::kBF16 ? kernels.dot_bf16 : kernels.dot_f32)(args);
      sink(block);
    }
  }
}

}  // namespace dsl::cpu
