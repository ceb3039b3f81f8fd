#include <algorithm>

#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/expert_gemm.cuh"
#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/join_experts.cuh"
#include "engine/kernels/cuda/quantise.h"
#include "engine/kernels/linear_shapes.h"

namespace dsl::cuda {
namespace {

/// One launch serves all experts of a layer, so that they must not differ in what it depends on.
bool is_alike(const WeightView& a, const WeightView& b) {
  return is_read_alike(a, b) && a.out_features == b.out_features &&
         a.in_features == b.in_features && a.scales.block_cols == b.scales.block_cols;
}

void check_alike(std::span<const ExpertWeights> experts) {
  const ExpertWeights& first = experts.front();
  for (const ExpertWeights& expert : experts) {
    DSL_CHECK(
        is_alike(expert.gate_proj, first.gate_proj) && is_alike(expert.up_proj, first.gate_proj) &&
            is_alike(expert.down_proj, first.down_proj) &&
            expert.down_proj.dtype == first.gate_proj.dtype,
        "an expert of [{}, {}] in {} beside one of [{}, {}] in {}", expert.gate_proj.out_features,
        expert.gate_proj.in_features, name_of(expert.gate_proj.dtype), first.gate_proj.out_features,
        first.gate_proj.in_features, name_of(first.gate_proj.dtype));
  }
}

/// A call of the experts of a shard.
struct ExpertCall {
  std::span<const ExpertWeights> experts;
  ExpertChoice choice;
  GemmRows rows;

  /// For kernels that do not use tensor cores.
  dim3 grid(std::int64_t features) const {
    return dim3(blocks_for(features, kTileWarps), static_cast<unsigned>(experts.size()),
                std::min<unsigned>(kPairBlocks, blocks_for(rows.max_rows, kTileRows)));
  }
};

bool is_on_tensor_cores(DType activations, const ExpertWeights& expert) {
  const auto is_taken = [&](const WeightView& weight) {
    return is_tensor_core_gemm(activations, weight, single_leaf(weight.in_features));
  };
  return is_taken(expert.gate_proj) && is_taken(expert.down_proj);
}

/// The rows that a product of the experts multiplies with weights like `weight`.
struct ExpertInputs {
  Slices slices;
  bool is_on_tensor_cores = false;
  bool is_quantised = false;

  ExpertInputs(DType activations, const WeightView& weight) {
    const LeafBounds leaves = single_leaf(weight.in_features);
    slices = slices_of(weight, leaves);
    is_on_tensor_cores = is_tensor_core_gemm(activations, weight, leaves);
    is_quantised = weight.quantised_inputs;
  }

  /// Of scratch, for a quantised row, and for some with what pads them.
  std::int64_t row_bytes(std::int64_t features) const {
    if (!is_quantised) return 0;
    return is_on_tensor_cores ? code_row_bytes(features, slices.num_slices())
                              : features * std::int64_t{sizeof(float)};
  }
  std::int64_t bytes(std::int64_t rows, std::int64_t features) const {
    if (!is_quantised) return 0;
    return is_on_tensor_cores ? code_bytes(rows, features, slices.num_slices())
                              : float_bytes(rows, features);
  }

  /// As kernels without tensor cores read them.
  Matrix stored(Launcher& launcher, const Matrix& x, ScratchSpace& space) const {
    return is_quantised ? quantised_floats(launcher, x, slices, space) : x;
  }

  /// As tensor cores read them.
  template <typename X>
  ExpertRows<X> gemm_rows(Launcher& launcher, const Matrix& x, const ExpertChoice& choice,
                          ScratchSpace& space) const {
    if constexpr (std::is_same_v<X, Float8E4M3>) {
      return {{quantise_rows(launcher, x, slices, space)}, choice, slices};
    } else {
      return {{x}, choice, slices};
    }
  }
};

void activate_experts(Launcher& launcher, const ExpertCall& call, const Matrix& x,
                      const Matrix& activated, ScratchSpace& space) {
  const WeightView& weight = call.experts.front().gate_proj;
  const ExpertInputs inputs(x.dtype, weight);
  if (inputs.is_on_tensor_cores) {
    return with_tensor_core_types(weight, [&]<typename X>(auto w, X) {
      const ExpertUpGemm<decltype(w), X> gemm{inputs.gemm_rows<X>(launcher, x, call.choice, space),
                                              activated};
      run_gemm(launcher, gemm, activated.cols, call.rows);
    });
  }
  const Matrix rows = inputs.stored(launcher, x, space);
  with_activation(rows.dtype, [&](auto a) {
    with_weight(weight.dtype, [&](auto w) {
      with_activation(activated.dtype, [&](auto o) {
        launcher.run({call.grid(activated.cols), kTileThreads},
                     expert_up_kernel<decltype(a), decltype(w), decltype(o)>, rows,
                     call.choice.experts, call.choice.pairs, call.choice.num_experts_per_tok,
                     activated);
      });
    });
  });
}

void project_experts(Launcher& launcher, const ExpertCall& call, const Matrix& activated,
                     const MatrixView<float>& outputs, ScratchSpace& space) {
  const WeightView& weight = call.experts.front().down_proj;
  const ExpertInputs inputs(activated.dtype, weight);
  if (inputs.is_on_tensor_cores) {
    return with_tensor_core_types(weight, [&]<typename X>(auto w, X) {
      const ExpertDownGemm<decltype(w), X> gemm{
          inputs.gemm_rows<X>(launcher, activated, call.choice, space), outputs};
      run_gemm(launcher, gemm, outputs.cols, call.rows);
    });
  }
  const Matrix rows = inputs.stored(launcher, activated, space);
  with_activation(rows.dtype, [&](auto a) {
    with_weight(weight.dtype, [&](auto w) {
      launcher.run({call.grid(outputs.cols), kTileThreads},
                   expert_down_kernel<decltype(a), decltype(w)>, rows, call.choice.experts,
                   call.choice.pairs, outputs);
    });
  });
}

/// What a row of a call takes of scratch.
std::int64_t scratch_of_row(std::int64_t top_k, DType activations,
                            std::span<const ExpertWeights> experts) {
  const WeightView& gate = experts.front().gate_proj;
  const WeightView& down = experts.front().down_proj;
  return ExpertInputs(activations, gate).row_bytes(gate.in_features) +
         top_k * ((down.out_features + 1) * std::int64_t{sizeof(float)} +
                  down.in_features * static_cast<std::int64_t>(size_of(activations)) +
                  ExpertInputs(activations, down).row_bytes(down.in_features));
}

/// What `rows` rows of a call take of scratch.
std::int64_t scratch_of_experts(std::int64_t rows, std::int64_t top_k, DType activations,
                                std::span<const ExpertWeights> experts) {
  const WeightView& gate = experts.front().gate_proj;
  const WeightView& down = experts.front().down_proj;
  const std::int64_t pairs = rows * top_k;
  const auto float_piece = [](std::int64_t count) {
    return scratch_piece(count * std::int64_t{sizeof(float)});
  };
  const auto value_bytes = static_cast<std::int64_t>(size_of(activations));
  return float_piece(pairs * down.out_features) +
         scratch_piece(pairs * down.in_features * value_bytes) +
         float_piece(pairs + std::ssize(experts) + 1) +
         ExpertInputs(activations, gate).bytes(rows, gate.in_features) +
         ExpertInputs(activations, down).bytes(pairs, down.in_features);
}

}  // namespace

void join_routed_experts(Launcher& launcher, DeviceCopy<ExpertWeights>& experts_copy,
                         const Matrix& x, const Routing& routing,
                         std::span<const ExpertWeights> experts, const LeafSplit& split,
                         const LeafSums& sums, const MatrixView<float>& out) {
  check_split(split, std::ssize(experts));
  DSL_CHECK(sums.rows == x.rows && sums.num_leaves == split.num_leaves() && out.rows == x.rows &&
                out.cols == sums.cols,
            "{} rows, sums [{}, {}, {}], out [{}, {}]", x.rows, sums.num_leaves, sums.rows,
            sums.cols, out.rows, out.cols);
  if (x.rows == 0) return;
  check_alike(experts);
  const ExpertWeights* table = launcher.copy(experts_copy, experts);
  const std::int64_t inner = experts.front().gate_proj.out_features;
  const auto value_bytes = static_cast<std::int64_t>(size_of(x.dtype));
  const std::int64_t top_k = routing.num_experts_per_tok;
  const std::int64_t num_experts = std::ssize(experts);
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  const std::int64_t max_rows = launcher.count_of_expert_pass(
      std::min(x.rows, kMaxGridRows), scratch_of_row(top_k, x.dtype, experts));
  auto* scratch =
      launcher.scratch<std::byte>(scratch_of_experts(max_rows, top_k, x.dtype, experts));
  if (table == nullptr || scratch == nullptr) return;
  for (std::int64_t first = 0; first < x.rows; first += max_rows) {
    const std::int64_t rows = std::min(max_rows, x.rows - first);
    const std::int64_t num_pairs = rows * top_k;
    ScratchSpace space(scratch);
    const MatrixView<float> down{space.take<float>(num_pairs * sums.cols), num_pairs, sums.cols,
                                 sums.cols};
    const Matrix activated{space.take<std::byte>(num_pairs * inner * value_bytes), x.dtype,
                           num_pairs, inner, inner};
    auto* begin = space.take<std::int32_t>(num_pairs + num_experts + 1);
    const ExpertPairs pairs{begin, begin + num_experts + 1};
    const Routing part{routing.expert_ids + first * top_k, routing.weights + first * top_k, rows,
                       top_k};
    ExpertCall call{
        experts, {table, num_experts, top_k, pairs, nullptr, first_expert}, {num_experts, rows, 0}};
    if (rows == 1 && is_on_tensor_cores(x.dtype, experts.front())) {
      call.choice.only_row = part.expert_ids;
      call.rows = {top_k, 1, 1};
    } else {
      call.rows.expected_rows = num_pairs / split.size;
      launcher.run({dim3(static_cast<unsigned>(num_experts)), kPairWarps * kWarpSize,
                    sizeof(PairCounts<kPairWarps>)},
                   group_pairs_kernel<kPairWarps>, part, first_expert, pairs);
    }
    activate_experts(launcher, call, x.rows_from(first, rows), activated, space);
    project_experts(launcher, call, activated, down, space);
    launcher.run({join_grid(sums.cols, rows), kJoinThreads}, join_experts_kernel, part,
                 first_expert, leaf_bounds(split), down, leaf_rows_from(sums, first),
                 MatrixView<float>{out.row(first), rows, out.cols, out.row_stride});
  }
}

}  // namespace dsl::cuda
