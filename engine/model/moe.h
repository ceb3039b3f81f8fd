// The mixture of experts: a router, routed experts spread over the tensor shards, and shared
// experts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/model/layer_context.h"
#include "engine/model/mlp.h"
#include "engine/parallel/linear.h"

namespace dsl::model {

/// The mlp module of a sparse layer. A value over the checkpoint's views.
class Moe {
 public:
  /// `prefix` is "model.layers.N.mlp.".
  static Result<Moe> load(const LayerSource& source, const std::string& prefix);

  /// The workspace's update, complete on every shard. x [rows, hidden_size]. Routed experts
  /// add to the leaves of the shared ones, so that one sum over the group joins both.
  Result<MatrixView<float>> forward(const LayerContext& context, const Matrix& x) const;

  void append_parameters(Parameters& parameters);
  /// Stored bytes of this shard's routed experts, and of those among the experts that a step's rows
  /// chose.
  std::int64_t routed_bytes() const;
  std::int64_t routed_bytes_read(std::span<const std::int32_t> expert_ids) const;

 private:
  RoutingConfig routing_;
  WeightView gate_;                     // [n_routed_experts, hidden_size]
  VectorView e_score_correction_bias_;  // [n_routed_experts]; empty without noaux_tc
  parallel::ExpertParallel experts_;
  std::optional<Mlp> shared_experts_;
};

}  // namespace dsl::model
