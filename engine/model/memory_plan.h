// What a rank's device will hold, computed before anything is loaded: from the headers of the
// checkpoint and the sizes of a step.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/ops_limits.h"
#include "engine/parallel/parallel_plan.h"
#include "engine/parallel/tensor_parallel.h"

namespace dsl::model {

/// Bytes by purpose.
struct MemoryPlan {
  std::int64_t weights = 0;  // this rank's shards, as they are packed
  std::int64_t cache = 0;    // latents
  std::int64_t activations = 0;
  std::int64_t rope_tables = 0;
  std::int64_t logits = 0;  // of the head
  std::int64_t hops = 0;    // rows from and to neighbour stages, where they hop on the device
  std::int64_t ops = 0;     // what the kernels take for themselves

  /// All but weights and cache.
  std::int64_t workspace() const { return activations + rope_tables + logits + hops + ops; }
  std::int64_t total() const { return weights + cache + workspace(); }

  friend bool operator==(const MemoryPlan&, const MemoryPlan&) = default;
};

struct MemoryPlanOptions {
  DType compute_dtype = DType::kBF16;
  std::int64_t max_rows = 0;         // of one step
  std::int64_t max_logits_rows = 1;  // of one call of the head
  bool fp8_activations = false;
  bool fp8_cache = false;
  std::int64_t num_hop_steps = 0;  // that the device holds rows of, for each neighbour stage
  parallel::ShardLink shard_link = parallel::ShardLink::kDevices;  // which takes more than hosts
};

/// Plans of one rank for caches of any size. A value.
class MemoryPlanner {
 public:
  /// What a backend takes for itself.
  using OpsBytes = std::function<std::int64_t(const OpsLimits&)>;

  static Result<MemoryPlanner> make(const checkpoint::Checkpoint& checkpoint,
                                    const checkpoint::ModelConfig& config,
                                    const parallel::ParallelPlan& plan, int rank,
                                    const MemoryPlanOptions& options, OpsBytes ops_bytes);

  /// With a cache of `num_blocks` blocks.
  MemoryPlan with_blocks(std::int64_t num_blocks) const;
  /// The most blocks up to `max_blocks` whose plan fits into `bytes`; 0: not even one.
  std::int64_t blocks_within(std::int64_t bytes, std::int64_t max_blocks) const;
  /// The largest calls of the ops with a cache of `num_blocks` blocks.
  OpsLimits limits(std::int64_t num_blocks) const;

 private:
  MemoryPlanner() = default;
  std::int64_t max_positions(std::int64_t num_blocks) const;

  checkpoint::ModelConfig config_;
  MemoryPlanOptions options_;
  OpsBytes ops_bytes_;
  parallel::TensorParallel tp_;
  std::int64_t num_layers_ = 0;
  std::int64_t num_expert_layers_ = 0;
  std::int64_t quantised_features_ = 0;
  MemoryPlan fixed_;  // what does not depend on the cache
};

}  // namespace dsl::model
