// A model of random weights on a device or, as its reference, on the host.
#pragma once

#include <memory>
#include <vector>

#include "engine/kernels/device.h"
#include "engine/model/memory_plan.h"
#include "engine/model/stage_model.h"
#include "tests/bench/gpu/sparse_checkpoint.h"

namespace dsl::bench {

struct BenchModelShape {
  std::int64_t max_rows = 0;
  std::int64_t max_sequences = 0;
  std::int64_t max_positions = 0;  // of each sequence
};

/// Tokens of one sequence in a step.
struct BenchTokens {
  std::int64_t sequence = 0;
  std::int64_t first_position = 0;
  std::vector<std::int32_t> tokens;
};

/// Owns model, caches and weights. Every sequence has its blocks of the cache for good.
class BenchModel {
 public:
  /// With random weights.
  static Result<std::unique_ptr<BenchModel>> make(const checkpoint::ModelConfig& config, Ops& ops,
                                                  Memory& memory, const BenchModelShape& shape);
  /// On the host, with the weights of a model on a device.
  static Result<std::unique_ptr<BenchModel>> make_reference(const checkpoint::ModelConfig& config,
                                                            Ops& ops, BenchModel& of,
                                                            const BenchModelShape& shape);

  /// Embedding and layers; returns when the device has done them if `is_waiting`.
  Status run(const std::vector<BenchTokens>& step, MlaForm form, bool is_waiting = true);
  /// Of one row of the last step.
  Result<std::vector<float>> logits(std::int32_t row);

  /// What it should take of the device.
  Result<model::MemoryPlanner> plan_memory() const;
  std::int64_t num_blocks() const { return shape_.max_sequences * blocks_each_; }

  model::StageModel& stage() { return *stage_; }
  const checkpoint::Checkpoint& checkpoint() const { return *sparse_; }
  const checkpoint::ModelConfig& config() const { return config_; }

 private:
  BenchModel(const checkpoint::ModelConfig& config, Ops& ops, Memory& memory,
             const BenchModelShape& shape)
      : config_(config), ops_(ops), memory_(memory), shape_(shape) {}
  Status load();
  Result<parallel::ParallelPlan> plan() const;

  checkpoint::ModelConfig config_;
  Ops& ops_;
  Memory& memory_;
  BenchModelShape shape_;
  std::int64_t blocks_each_ = 0;
  std::vector<std::int32_t> block_tables_;
  std::unique_ptr<checkpoint::Checkpoint> sparse_;
  std::unique_ptr<model::StageModel> stage_;
  Buffer weights_;
  // Of the last step: recordings keep no references to them, but the model's calls do.
  std::vector<std::int32_t> tokens_;
  std::vector<std::int32_t> positions_;
  std::vector<std::int64_t> slots_;
  std::vector<AttentionSegment> segments_;
};

}  // namespace dsl::bench
