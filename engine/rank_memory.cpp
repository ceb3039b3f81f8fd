#include "engine/rank_memory.h"

#include <algorithm>

#include "engine/device_budget.h"
#include "engine/pipeline_hops.h"
#include "transport/base/log.h"

namespace dsl::engine {
namespace {

model::MemoryPlanner::OpsBytes ops_bytes_of(const Device& device) {
  return [ops = device.ops.get()](const OpsLimits& limits) { return ops->needed_bytes(limits); };
}

model::MemoryPlanOptions options_of(const RankOnDevice& rank) {
  model::MemoryPlanOptions options = plan_options(rank.options, rank.config);
  if (rank.hop_memory == parallel::HopMemory::kDevice) options.num_hop_steps = kHopSlots;
  if (rank.shard_link) options.shard_link = *rank.shard_link;
  return options;
}

}  // namespace

Result<model::MemoryPlanner> plan_memory(const RankOnDevice& rank) {
  return model::MemoryPlanner::make(rank.checkpoint, rank.config, rank.plan, rank.rank,
                                    options_of(rank), ops_bytes_of(rank.device));
}

Result<std::int64_t> cacheable_tokens(const RankOnDevice& rank, const model::MemoryPlanner& planner,
                                      int num_ranks) {
  const Memory& memory = *rank.device.memory;
  // The shards are connected: what that took is not free any more.
  const DeviceBudget budget{rank.device.name, memory.free_bytes(), memory.total_bytes(), num_ranks};
  const bool has_group = rank.shard_link == parallel::ShardLink::kDevices;
  const std::int64_t group = has_group ? group_bytes(rank.plan.tp(), rank.options, rank.config) : 0;
  const auto other_split = [&](std::int64_t kv_tokens) {
    const auto available = [&, alone = budget](int tp) mutable {
      alone.num_ranks = 1;
      alone.group = std::max<std::int64_t>(group_bytes(tp, rank.options, rank.config) - group, 0);
      return alone.available();
    };
    return fewest_ranks(rank.checkpoint, rank.config, options_of(rank), kv_tokens, available,
                        ops_bytes_of(rank.device));
  };
  log(LogLevel::kInfo, "computes on {}{}", rank.device.name,
      num_ranks == 1 ? "" : fmt::format(", which {} ranks share", num_ranks));
  auto tokens = fit_cache(planner, budget, rank.options.kv_tokens,
                          most_useful_tokens(rank.options, rank.config), other_split);
  if (tokens) return tokens;
  return tl::unexpected<Error>(
      std::move(tokens).error().within(fmt::format("the plan of rank {}'s memory", rank.rank)));
}

}  // namespace dsl::engine
