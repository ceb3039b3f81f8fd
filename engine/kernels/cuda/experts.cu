#include <algorithm>

#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/expert_gemm.cuh"
#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/linear_shapes.h"

namespace dsl::cuda {
namespace {

/// One launch serves all experts of a layer, so that they must not differ in what it depends on.
bool is_alike(const WeightView& a, const WeightView& b) {
  return a.dtype == b.dtype && a.out_features == b.out_features && a.in_features == b.in_features &&
         a.scales.block_cols == b.scales.block_cols && a.scales.first_col == b.scales.first_col;
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

void activate_experts(Launcher& launcher, const ExpertCall& call, const Matrix& x,
                      const Matrix& activated) {
  const WeightView& weight = call.experts.front().gate_proj;
  const LeafBounds leaves = single_leaf(x.cols);
  if (is_tensor_core_gemm(x.dtype, weight, leaves)) {
    with_tensor_core_weight(weight.dtype, [&](auto w) {
      const ExpertUpGemm<decltype(w)> gemm{{x, call.choice, slices_of(weight, leaves)}, activated};
      run_gemm(launcher, gemm, activated.cols, call.rows);
    });
    return;
  }
  with_activation(x.dtype, [&](auto a) {
    with_weight(weight.dtype, [&](auto w) {
      launcher.run({call.grid(activated.cols), kTileThreads},
                   expert_up_kernel<decltype(a), decltype(w)>, x, call.choice.experts,
                   call.choice.pairs, call.choice.num_experts_per_tok, activated);
    });
  });
}

void project_experts(Launcher& launcher, const ExpertCall& call, const Matrix& activated,
                     const MatrixView<float>& outputs) {
  const WeightView& weight = call.experts.front().down_proj;
  const LeafBounds leaves = single_leaf(activated.cols);
  if (is_tensor_core_gemm(activated.dtype, weight, leaves)) {
    with_tensor_core_weight(weight.dtype, [&](auto w) {
      const ExpertDownGemm<decltype(w)> gemm{{activated, call.choice, slices_of(weight, leaves)},
                                             outputs};
      run_gemm(launcher, gemm, outputs.cols, call.rows);
    });
    return;
  }
  with_activation(activated.dtype, [&](auto a) {
    with_weight(weight.dtype, [&](auto w) {
      launcher.run({call.grid(outputs.cols), kTileThreads},
                   expert_down_kernel<decltype(a), decltype(w)>, activated, call.choice.experts,
                   call.choice.pairs, outputs);
    });
  });
}

}  // namespace

void add_routed_experts(Launcher& launcher, DeviceCopy<ExpertWeights>& experts_copy,
                        const Matrix& x, const Routing& routing,
                        std::span<const ExpertWeights> experts, const LeafSplit& split,
                        const LeafSums& sums) {
  check_split(split, std::ssize(experts));
  if (x.rows == 0) return;
  check_alike(experts);
  const ExpertWeights* table = launcher.copy(experts_copy, experts);
  const std::int64_t inner = experts.front().gate_proj.out_features;
  const std::int64_t top_k = routing.num_experts_per_tok;
  const std::int64_t num_experts = std::ssize(experts);
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  const std::int64_t row_bytes =
      top_k * static_cast<std::int64_t>(sizeof(float)) * (sums.cols + 1 + inner);
  const std::int64_t max_rows =
      std::clamp(kMaxScratchBytes / row_bytes, std::int64_t{1}, std::min(x.rows, kMaxGridRows));
  const std::int64_t max_pairs = max_rows * top_k;
  float* outputs = launcher.scratch<float>(max_pairs * (sums.cols + inner + 1) + num_experts + 1);
  if (table == nullptr || outputs == nullptr) return;
  float* inner_data = outputs + max_pairs * sums.cols;
  auto* begin = reinterpret_cast<std::int32_t*>(inner_data + max_pairs * inner);
  const ExpertPairs pairs{begin, begin + num_experts + 1};
  for (std::int64_t first = 0; first < x.rows; first += max_rows) {
    const std::int64_t rows = std::min(max_rows, x.rows - first);
    const Routing part{routing.expert_ids + first * top_k, routing.weights + first * top_k, rows,
                       top_k};
    const Matrix activated{inner_data, x.dtype, rows * top_k, inner, inner};
    const MatrixView<float> down{outputs, rows * top_k, sums.cols, sums.cols};
    ExpertCall call{
        experts, {table, num_experts, top_k, pairs, nullptr, first_expert}, {num_experts, rows, 0}};
    if (rows == 1 && is_on_tensor_cores(x.dtype, experts.front())) {
      call.choice.only_row = part.expert_ids;
      call.rows = {top_k, 1, 1};
    } else {
      call.rows.expected_rows = rows * top_k / split.size;
      launcher.run({dim3(static_cast<unsigned>(num_experts)), kWarpSize}, group_pairs_kernel, part,
                   first_expert, pairs);
    }
    activate_experts(launcher, call, x.rows_from(first, rows), activated);
    project_experts(launcher, call, activated, down);
    launcher.run({element_grid(sums.cols, rows), kElementThreads}, add_experts_kernel, part,
                 first_expert, leaf_bounds(split), down, sums, first);
  }
}

}  // namespace dsl::cuda
