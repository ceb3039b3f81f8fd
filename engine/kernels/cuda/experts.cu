#include <algorithm>

#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/linear_shapes.h"

namespace dsl::cuda {

void add_routed_experts(Launcher& launcher, DeviceCopy<ExpertWeights>& experts_copy,
                        const Matrix& x, const Routing& routing,
                        std::span<const ExpertWeights> experts, const LeafSplit& split,
                        const LeafSums& sums) {
  check_split(split, std::ssize(experts));
  if (x.rows == 0) return;
  const DType dtype = experts.front().gate_proj.dtype;
  for (const ExpertWeights& expert : experts) {
    DSL_CHECK(expert.gate_proj.dtype == dtype && expert.up_proj.dtype == dtype &&
                  expert.down_proj.dtype == dtype,
              "experts of a layer are {}, {}, {} and {}", name_of(dtype),
              name_of(expert.gate_proj.dtype), name_of(expert.up_proj.dtype),
              name_of(expert.down_proj.dtype));
  }
  const ExpertWeights* table = launcher.copy(experts_copy, experts);
  const std::int64_t inner = experts.front().gate_proj.out_features;
  const std::int64_t top_k = routing.num_experts_per_tok;
  const std::int64_t num_experts = std::ssize(experts);
  const std::int64_t first_expert = std::int64_t{split.shard} * split.local_size();
  const std::int64_t row_bytes =
      top_k * (static_cast<std::int64_t>(sizeof(float)) * (sums.cols + 1 + inner));
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
    const auto grid = [&](std::int64_t features) {
      return dim3(blocks_for(features, kTileWarps), static_cast<unsigned>(num_experts),
                  std::min<unsigned>(kPairBlocks, blocks_for(rows, kTileRows)));
    };
    launcher.run({dim3(static_cast<unsigned>(num_experts)), kWarpSize}, group_pairs_kernel, part,
                 first_expert, pairs);
    with_activation(x.dtype, [&](auto a) {
      with_weight(dtype, [&](auto w) {
        launcher.run({grid(inner), kTileThreads}, expert_up_kernel<decltype(a), decltype(w)>,
                     x.rows_from(first, rows), table, pairs, top_k, activated);
        launcher.run({grid(sums.cols), kTileThreads}, expert_down_kernel<decltype(a), decltype(w)>,
                     activated, table, pairs, down);
      });
    });
    launcher.run({element_grid(sums.cols, rows), kElementThreads}, add_experts_kernel, part,
                 first_expert, leaf_bounds(split), down, sums, first);
  }
}

}  // namespace dsl::cuda
