// A rank's memory on a device: its plan, and the cache that fits, before anything is loaded.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/kernels/device.h"
#include "engine/model/memory_plan.h"
#include "engine/parallel/hop_path.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/parallel/tensor_parallel.h"

namespace dsl::engine {

/// Non-owning.
struct RankOnDevice {
  const EngineOptions& options;
  const checkpoint::Checkpoint& checkpoint;
  const checkpoint::ModelConfig& config;
  const parallel::ParallelPlan& plan;
  int rank = 0;
  const Device& device;
  parallel::HopMemory hop_memory = parallel::HopMemory::kNone;
  std::optional<parallel::ShardLink> shard_link;  // none for tp 1
};

/// `device` must outlive the planner.
Result<model::MemoryPlanner> plan_memory(const RankOnDevice& rank);

/// Once all ranks on its device are connected: tokens that the rank can cache where `num_ranks`
/// share its device: as many as the options ask for, or what is left. kOutOfMemory has the
/// arithmetic.
Result<std::int64_t> cacheable_tokens(const RankOnDevice& rank, const model::MemoryPlanner& planner,
                                      int num_ranks);

}  // namespace dsl::engine
