#include "engine/parallel/parallel_plan.h"

#include <algorithm>
#include <limits>

#include "engine/kernels/ops.h"

namespace dsl::parallel {
namespace {

/// Layers per stage such that the largest stage is as small as possible; among equals the first
/// stages get more, for the last one also samples. Dynamic programme over (stages left, first
/// layer).
std::vector<StageLayers> balance_stages(std::size_t pp, const ModelCosts& costs) {
  const std::size_t num_layers = costs.layer_bytes.size();
  std::vector<std::int64_t> bytes_before(num_layers + 1, 0);
  for (std::size_t i = 0; i < num_layers; ++i) {
    bytes_before[i + 1] = bytes_before[i] + costs.layer_bytes[i];
  }
  const auto stage_bytes = [&](std::size_t stage, std::size_t first, std::size_t end) {
    return bytes_before[end] - bytes_before[first] + (stage == 0 ? costs.embedding_bytes : 0) +
           (stage == pp - 1 ? costs.head_bytes : 0);
  };

  constexpr std::int64_t kImpossible = std::numeric_limits<std::int64_t>::max();
  // largest[s][f]: the largest stage when stages s.. hold layers f..; end_of[s][f]: where stage s
  // then ends.
  std::vector largest(pp + 1, std::vector(num_layers + 1, kImpossible));
  std::vector end_of(pp, std::vector<std::size_t>(num_layers + 1, 0));
  largest[pp][num_layers] = 0;
  for (std::size_t stage = pp; stage-- > 0;) {
    for (std::size_t first = 0; first < num_layers; ++first) {
      for (std::size_t end = num_layers; end > first; --end) {
        if (largest[stage + 1][end] == kImpossible) continue;
        const auto candidate = std::max(largest[stage + 1][end], stage_bytes(stage, first, end));
        if (candidate < largest[stage][first]) {
          largest[stage][first] = candidate;
          end_of[stage][first] = end;
        }
      }
    }
  }

  std::vector<StageLayers> stages;
  std::size_t first = 0;
  for (std::size_t stage = 0; stage < pp; ++stage) {
    const std::size_t end = end_of[stage][first];
    stages.push_back({static_cast<std::int64_t>(first), static_cast<std::int64_t>(end - first)});
    first = end;
  }
  return stages;
}

}  // namespace

Result<ParallelPlan> ParallelPlan::make(int tp, int pp,
                                        std::span<const SplitDimension> split_dimensions,
                                        const ModelCosts& costs) {
  if (tp < 1 || tp > kNumLeaves || kNumLeaves % tp != 0) {
    return fail(ErrorCode::kParallelism, "use 1, 2, 4 or 8",
                "tensor parallelism: expected tp of 1, 2, 4 or 8, found {}", tp);
  }
  for (const auto& [name, size] : split_dimensions) {
    if (size % tp != 0) {
      return fail(ErrorCode::kParallelism, "choose a smaller tp",
                  "tensor parallelism: tp {} does not divide the model's {} of {}", tp, name, size);
    }
  }
  const auto num_layers = static_cast<std::int64_t>(costs.layer_bytes.size());
  if (pp < 1 || pp > num_layers) {
    return fail(ErrorCode::kParallelism, "give every pipeline stage at least one layer",
                "pipeline parallelism: expected pp from 1 to {} (the model's layers), found {}",
                num_layers, pp);
  }
  return ParallelPlan(tp, balance_stages(static_cast<std::size_t>(pp), costs));
}

}  // namespace dsl::parallel
