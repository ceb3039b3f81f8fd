// How a model is split over a world: tp shards of every layer, pp stages of consecutive layers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::parallel {

/// A dimension that tensor parallelism splits, with the name that config.json gives it.
struct SplitDimension {
  std::string_view name;
  std::int64_t size = 0;
};

/// What a split is decided by; made from a model's configuration.
struct ModelCosts {
  std::vector<std::int64_t> layer_bytes;  // weights of every decoder layer
  std::int64_t embedding_bytes = 0;       // held by the first stage
  std::int64_t head_bytes = 0;            // held by the last stage
};

/// Consecutive layers of one pipeline stage.
struct StageLayers {
  std::int64_t first_layer = 0;
  std::int64_t num_layers = 0;

  friend bool operator==(const StageLayers&, const StageLayers&) = default;
};

/// The place of every rank: rank = stage * tp + shard. A value.
class ParallelPlan {
 public:
  /// kParallelism names the numbers when tp is not 1, 2, 4 or 8, does not divide a dimension, or pp
  /// has no layer for a stage. Stages are balanced so that the largest stage has the fewest bytes;
  /// every rank gets the same answer.
  static Result<ParallelPlan> make(int tp, int pp, std::span<const SplitDimension> split_dimensions,
                                   const ModelCosts& costs);

  int tp() const { return tp_; }
  int pp() const { return static_cast<int>(stages_.size()); }
  int world_size() const { return tp_ * pp(); }

  int stage_of(int rank) const { return rank / tp_; }
  int shard_of(int rank) const { return rank % tp_; }
  int rank_of(int stage, int shard) const { return stage * tp_ + shard; }
  /// The rank that samples: the last stage's shard 0.
  int sampling_rank() const { return rank_of(pp() - 1, 0); }
  const StageLayers& stage(int index) const { return stages_[static_cast<std::size_t>(index)]; }

 private:
  ParallelPlan(int tp, std::vector<StageLayers> stages) : tp_(tp), stages_(std::move(stages)) {}

  int tp_ = 1;
  std::vector<StageLayers> stages_;
};

}  // namespace dsl::parallel
