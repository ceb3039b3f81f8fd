#include "engine/kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/quantised_inputs.h"
#include "engine/kernels/routing.h"

namespace dsl::cpu {
namespace {

std::byte* row_address(const Matrix& matrix, std::int64_t row, std::int64_t col = 0) {
  return static_cast<std::byte*>(matrix.data) +
         (row * matrix.row_stride + col) * static_cast<std::int64_t>(size_of(matrix.dtype));
}

/// Features of a weight that a thread takes at a time: whole register tiles.
constexpr std::int64_t kFeatureGrain = 16;

}  // namespace

DotRows CpuOps::prepare(const Matrix& x, const WeightView& w, const LeafSplit* leaves,
                        DType element) {
  Workspace& workspace = workspaces_[0];
  DotRows result;
  result.rows = workspace.allocate<const void*>(x.rows);
  result.count = x.rows;
  if (x.dtype == element && !w.quantised_inputs) {
    for (std::int64_t row = 0; row < x.rows; ++row) result.rows[row] = row_address(x, row);
    return result;
  }
  const std::int64_t stride = (x.cols + 15) / 16 * 16;
  float* copy = workspace.allocate<float>(x.rows * stride);
  split(x.rows, 1, x.rows * x.cols, [&](std::int64_t first, std::int64_t last, Workspace&) {
    for (std::int64_t row = first; row < last; ++row) {
      kernels_.decode(row_address(x, row), x.dtype, x.cols, 1.0f, copy + row * stride);
      if (w.quantised_inputs) quantise_inputs(w, leaves, copy + row * stride);
      result.rows[row] = copy + row * stride;
    }
  });
  return result;
}

template <typename Sink>
void CpuOps::multiply(const Matrix& x, const WeightView& w, const LeafSplit* leaves, Sink sink) {
  DSL_CHECK(x.cols == w.in_features, "x [{}, {}], w [{}, {}]", x.rows, x.cols, w.out_features,
            w.in_features);
  DSL_CHECK(leaves == nullptr || leaves->local_size() == x.cols, "split of {} for {} features",
            leaves->local_size(), x.cols);
  if (x.rows == 0) return;
  const DType element = linear_element(kernels_, x.dtype, w);
  const Reduction reduction(w, element, leaves);
  const Workspace::Scope scope(workspaces_[0]);
  const DotRows rows = prepare(x, w, leaves, element);
  split(w.out_features, kFeatureGrain, x.rows * w.out_features * w.in_features,
        [&](std::int64_t first, std::int64_t last, Workspace& workspace) {
          for_dot_blocks(kernels_, rows, w, reduction, element, first, last, workspace, sink);
        });
}

void CpuOps::linear(const Matrix& x, const WeightView& w, const Matrix& out) {
  DSL_CHECK(out.rows == x.rows && out.cols == w.out_features, "out [{}, {}]", out.rows, out.cols);
  multiply(x, w, nullptr, [&](const DotBlock& block) {
    for (std::int64_t r = 0; r < block.num_rows; ++r) {
      kernels_.encode(block.row(r), block.num_cols, out.dtype,
                      row_address(out, block.first_row + r, block.first_col));
    }
  });
}

void CpuOps::linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                         MatrixView<float> out) {
  DSL_CHECK(out.rows == x.rows && out.cols == w.out_features, "out [{}, {}]", out.rows, out.cols);
  multiply(x, w, &split, [&](const DotBlock& block) {
    for (std::int64_t r = 0; r < block.num_rows; ++r) {
      kernels_.join_tree(block.row(r), block.leaf_stride, split.num_leaves(), block.num_cols,
                         out.row(block.first_row + r) + block.first_col);
    }
  });
}

void CpuOps::linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                           const LeafSums& sums) {
  DSL_CHECK(
      sums.rows == x.rows && sums.cols == w.out_features && sums.num_leaves == split.num_leaves(),
      "sums [{}, {}, {}]", sums.num_leaves, sums.rows, sums.cols);
  multiply(x, w, &split, [&](const DotBlock& block) {
    for (int leaf = 0; leaf < split.num_leaves(); ++leaf) {
      for (std::int64_t r = 0; r < block.num_rows; ++r) {
        std::copy_n(block.row(r) + leaf * block.leaf_stride, block.num_cols,
                    sums.leaf(leaf) + (block.first_row + r) * sums.cols + block.first_col);
      }
    }
  });
}

void CpuOps::add(const Matrix& residual, MatrixView<const float> update) {
  split(residual.rows, 1, residual.rows * residual.cols,
        [&](std::int64_t first, std::int64_t last, Workspace&) {
          for (std::int64_t row = first; row < last; ++row) {
            kernels_.add(row_address(residual, row), residual.dtype, update.row(row),
                         residual.cols);
          }
        });
}

void CpuOps::rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
                  const RopeTable& table) {
  DSL_CHECK(std::ssize(positions) == x.rows, "{} positions of {} rows", positions.size(), x.rows);
  split(x.rows, 1, x.rows * num_heads * table.rope_dim,
        [&](std::int64_t first, std::int64_t last, Workspace&) {
          RefOps::rope(x.rows_from(first, last - first), num_heads,
                       positions.subspan(static_cast<std::size_t>(first),
                                         static_cast<std::size_t>(last - first)),
                       table);
        });
}

void CpuOps::rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) {
  DSL_CHECK(weight.size == x.cols && out.cols == x.cols && out.rows == x.rows,
            "x [{}, {}], weight [{}], out [{}, {}]", x.rows, x.cols, weight.size, out.rows,
            out.cols);
  const Workspace::Scope scope(workspaces_[0]);
  float* gain = workspaces_[0].allocate<float>(weight.size);
  kernels_.decode(weight.data, weight.dtype, weight.size, 1.0f, gain);
  split(x.rows, 1, x.rows * x.cols, [&](std::int64_t first, std::int64_t last, Workspace&) {
    for (std::int64_t row = first; row < last; ++row) {
      kernels_.rms_norm(row_address(x, row), x.dtype, gain, eps, x.cols, out.dtype,
                        row_address(out, row));
    }
  });
}

void CpuOps::silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) {
  DSL_CHECK(gate.dtype == up.dtype && gate.rows == out.rows && gate.cols == out.cols &&
                up.rows == out.rows && up.cols == out.cols,
            "gate [{}, {}], up [{}, {}], out [{}, {}]", gate.rows, gate.cols, up.rows, up.cols,
            out.rows, out.cols);
  split(out.rows, 1, out.rows * out.cols, [&](std::int64_t first, std::int64_t last, Workspace&) {
    for (std::int64_t row = first; row < last; ++row) {
      kernels_.silu_mul(row_address(gate, row), row_address(up, row), gate.dtype, out.cols,
                        out.dtype, row_address(out, row));
    }
  });
}

void CpuOps::route(const Matrix& x, const WeightView& gate, const VectorView& bias,
                   const RoutingConfig& config, const Routing& routing) {
  const Workspace::Scope scope(workspaces_[0]);
  const std::int64_t num_experts = gate.out_features;
  const std::int64_t top_k = routing.num_experts_per_tok;
  float* logits = workspaces_[0].allocate<float>(x.rows * num_experts);
  linear(x, gate, {logits, DType::kF32, x.rows, num_experts, num_experts});
  float* biases = workspaces_[0].allocate<float>(bias.size);
  if (bias.size > 0) kernels_.decode(bias.data, bias.dtype, bias.size, 1.0f, biases);
  // An exponential counts like a hundred multiply-adds.
  split(x.rows, 1, x.rows * num_experts * 100,
        [&](std::int64_t first, std::int64_t last, Workspace&) {
          for (std::int64_t row = first; row < last; ++row) {
            choose_experts({logits + row * num_experts, static_cast<std::size_t>(num_experts)},
                           {biases, static_cast<std::size_t>(bias.size)}, config,
                           routing.expert_ids + row * top_k, routing.weights + row * top_k);
          }
        });
}

}  // namespace dsl::cpu
