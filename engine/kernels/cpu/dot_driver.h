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
/// That of a linear: quantised inputs, codes times scales, are float32.
DType linear_element(const KernelTable& kernels, DType activation, const WeightView& weight);

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
  /// Per row its block scales; BF16 kernels on block-quantised weights only.
  const float* const* scales = nullptr;
};

/// Up to so many rows of activations, E4M3 weights are decoded inside the dot kernel.
inline constexpr std::int64_t kFusedRows = 4;

/// Rows [first, first + count) of a weight as elements of a dot kernel.
DotRows weight_rows(const KernelTable& kernels, const WeightView& weight, std::int64_t first,
                    std::int64_t count, DType element, Workspace& workspace);

/// The same rows as stored, to be read in place; with their scales when block-quantised.
DotRows stored_rows(const WeightView& weight, std::int64_t first, std::int64_t count,
                    Workspace& workspace);

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
/// Bytes of weights decoded at a time for few rows of activations: writing beyond a 32 KiB L1
/// halves the rate.
inline constexpr std::int64_t kDecodedBytes = 16 << 10;
inline constexpr std::int64_t kFewRows = 64;
inline constexpr std::int64_t kAheadRows = 4;

/// Calls sink(DotBlock) until all rows x features [first, last) are done; features outside, so that
/// weights are read from memory once.
template <typename Sink>
void for_dot_blocks(const KernelTable& kernels, const DotRows& x, const WeightView& weight,
                    const Reduction& reduction, DType element, std::int64_t first,
                    std::int64_t last, Workspace& workspace, Sink sink) {
  const std::int64_t row_bytes =
      std::max<std::int64_t>(1, weight.in_features * static_cast<std::int64_t>(size_of(element)));
  const bool fused = reduction.scaled() && x.count <= kFusedRows;
  const bool decoded_in_l1 = weight.dtype != element && !fused && x.count <= kFewRows;
  const std::int64_t weight_bytes = decoded_in_l1 ? kDecodedBytes : kWeightBytes;
  const std::int64_t block_cols = std::clamp<std::int64_t>(weight_bytes / row_bytes / 4 * 4, 4, 64);
  const std::int64_t block_rows =
      std::clamp<std::int64_t>(kActivationBytes / row_bytes / 4 * 4, 16, 128);
  for (std::int64_t col = first; col < last; col += block_cols) {
    const Workspace::Scope scope(workspace);
    const std::int64_t num_cols = std::min(block_cols, last - col);
    // Rows that are read in place are prefetched across the boundary of a block.
    const bool in_place = fused || weight.dtype == element;
    const std::int64_t num_ahead = in_place ? std::min(kAheadRows, last - col - num_cols) : 0;
    const DotRows features = in_place
                                 ? stored_rows(weight, col, num_cols + num_ahead, workspace)
                                 : weight_rows(kernels, weight, col, num_cols, element, workspace);
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
      args.num_b_ahead = num_ahead;
      reduction.apply_to(args);
      if (reduction.scaled()) args.scaled_side = ScaledSide::kB;
      args.scales = features.scales;
      args.c = block.c;
      args.c_leaf_stride = block.leaf_stride;
      args.c_row_stride = block.row_stride;
      const auto dot = element == DType::kF32 ? kernels.dot_f32
                       : fused                ? kernels.dot_bf16_e4m3
                                              : kernels.dot_bf16;
      dot(args);
      sink(block);
    }
  }
}

}  // namespace dsl::cpu
