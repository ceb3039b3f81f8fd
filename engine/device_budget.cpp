#include "engine/device_budget.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/engine_rank.h"
#include "engine/kernels/cuda/sum_buffer.h"
#include "engine/model/latent_caches.h"
#include "engine/model/model_costs.h"
#include "engine/parallel/parallel_plan.h"

namespace dsl::engine {
namespace {

using model::MemoryPlan;
using model::MemoryPlanner;
using parallel::ParallelPlan;

constexpr std::int64_t kSmallestReservePart = 16;  // of the device
/// Splits that are planned in full, each in a fraction of a second, while somebody waits.
constexpr int kMaxPlannedSplits = 24;

std::string arithmetic(const MemoryPlan& plan, const DeviceBudget& budget, std::int64_t kv_tokens) {
  std::string text = fmt::format(
      "weights {} + cache of {} tokens {} + workspace {} + reserve {} = {} are needed, {} of {} "
      "are free on {}",
      binary_size(plan.weights), kv_tokens, binary_size(plan.cache), binary_size(plan.workspace()),
      binary_size(budget.reserve()), binary_size(plan.total() + budget.reserve()),
      binary_size(budget.free), binary_size(budget.total), budget.device);
  if (budget.num_ranks > 1) {
    text += fmt::format(", which {} ranks share: {} for each", budget.num_ranks,
                        binary_size(budget.free / budget.num_ranks));
  }
  return text;
}

/// Every stage's first shard: the others hold as much, but for scales at the edges of blocks.
bool fits(const checkpoint::Checkpoint& checkpoint, const checkpoint::ModelConfig& config,
          const ParallelPlan& plan, const model::MemoryPlanOptions& options,
          std::int64_t num_blocks, std::int64_t available, const MemoryPlanner::OpsBytes& ops) {
  for (int stage = 0; stage < plan.pp(); ++stage) {
    const auto planner =
        MemoryPlanner::make(checkpoint, config, plan, plan.rank_of(stage, 0), options, ops);
    if (!planner || planner->with_blocks(num_blocks).total() > available) return false;
  }
  return true;
}

/// Fewest ranks first, and of as many those with fewer shards.
std::vector<Split> all_splits(std::int64_t num_layers) {
  std::vector<Split> splits;
  for (int tp = 1; tp <= kNumLeaves; tp *= 2) {
    for (int pp = 1; pp <= num_layers; ++pp) splits.push_back({tp, pp});
  }
  std::stable_sort(splits.begin(), splits.end(),
                   [](const Split& a, const Split& b) { return a.tp * a.pp < b.tp * b.pp; });
  return splits;
}

}  // namespace

std::string binary_size(std::int64_t bytes) {
  constexpr std::int64_t kMiB = std::int64_t{1} << 20;
  constexpr std::int64_t kGiB = kMiB << 10;
  const auto value = static_cast<double>(bytes);
  return bytes < kGiB ? fmt::format("{:.2f} MiB", value / kMiB)
                      : fmt::format("{:.2f} GiB", value / kGiB);
}

std::int64_t DeviceBudget::reserve() const {
  return std::min(kDeviceReserveBytes, total / kSmallestReservePart) + group;
}

std::int64_t DeviceBudget::available() const {
  return std::max<std::int64_t>(free / num_ranks - reserve(), 0);
}

std::int64_t group_bytes(int tp, const EngineOptions& options,
                         const checkpoint::ModelConfig& config) {
  if (tp == 1) return 0;
  const std::int64_t received =
      cuda::received_values(largest_sum(options, config),
                            cuda::gathered_limit(tp, cuda::kExchangeBytes), tp) *
      std::int64_t{sizeof(float)};
  return received + kCommunicatorBytes + (tp - 1) * kPeerBytes;
}

std::int64_t largest_sum(const EngineOptions& options, const checkpoint::ModelConfig& config) {
  return options.max_batch_tokens * config.hidden_size;
}

model::MemoryPlanOptions plan_options(const EngineOptions& options,
                                      const checkpoint::ModelConfig& config, bool on_device) {
  return {options.compute_dtype, options.max_batch_tokens,
          std::min(options.max_batch_tokens, logits_rows_at_once(config.vocab_size, on_device)),
          options.fp8_activations, options.fp8_cache};
}

std::int64_t most_useful_tokens(const EngineOptions& options,
                                const checkpoint::ModelConfig& config) {
  return std::max<std::int64_t>(options.max_batch_tokens / 2, 1) * config.max_position_embeddings;
}

std::int64_t blocks_of(std::int64_t kv_tokens) {
  return (kv_tokens + model::kBlockTokens - 1) / model::kBlockTokens;
}

std::optional<Split> fewest_ranks(const checkpoint::Checkpoint& checkpoint,
                                  const checkpoint::ModelConfig& config,
                                  const model::MemoryPlanOptions& options, std::int64_t kv_tokens,
                                  const std::function<std::int64_t(int tp)>& available,
                                  const MemoryPlanner::OpsBytes& ops_bytes) {
  const parallel::ModelCosts costs = model::model_costs(checkpoint, config);
  std::int64_t all_bytes = 0;
  for (const std::int64_t bytes : costs.layer_bytes) all_bytes += bytes;
  int num_planned = 0;
  for (const Split& split : all_splits(config.num_hidden_layers)) {
    const std::int64_t bytes = available(split.tp);
    if (bytes < all_bytes / (split.tp * split.pp)) continue;
    const auto plan =
        ParallelPlan::make(split.tp, split.pp, model::split_dimensions(config), costs);
    if (!plan) continue;
    if (++num_planned > kMaxPlannedSplits) break;
    if (fits(checkpoint, config, *plan, options, blocks_of(kv_tokens), bytes, ops_bytes)) {
      return split;
    }
  }
  return std::nullopt;
}

Result<std::int64_t> fit_cache(
    const MemoryPlanner& planner, const DeviceBudget& budget, std::int64_t wanted,
    std::int64_t max_tokens,
    const std::function<std::optional<Split>(std::int64_t kv_tokens)>& other_split) {
  const std::int64_t max_blocks = blocks_of(wanted > 0 ? wanted : max_tokens);
  const std::int64_t num_blocks = planner.blocks_within(budget.available(), max_blocks);
  const bool is_enough = wanted > 0 ? num_blocks == max_blocks : num_blocks > 0;
  if (is_enough) {
    return std::min(num_blocks * model::kBlockTokens, wanted > 0 ? wanted : max_tokens);
  }
  const std::int64_t asked = wanted > 0 ? wanted : std::min(model::kBlockTokens, max_tokens);
  std::vector<std::string> remedies;
  if (const auto split = other_split(asked)) {
    remedies.push_back(fmt::format("split over {} ranks, the fewest that fit: --tp {} --pp {}",
                                   split->tp * split->pp, split->tp, split->pp));
  }
  if (num_blocks > 0) {
    remedies.push_back(
        fmt::format("ask for at most {} cached tokens", num_blocks * model::kBlockTokens));
  }
  if (budget.num_ranks > 1) remedies.push_back("give every rank a device of its own");
  if (remedies.empty()) remedies.push_back("use devices with more memory");
  return fail(ErrorCode::kOutOfMemory, fmt::format("{}", fmt::join(remedies, ", or ")), "{}",
              arithmetic(planner.with_blocks(blocks_of(asked)), budget, asked));
}

}  // namespace dsl::engine
