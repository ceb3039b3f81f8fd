// The gated feed-forward block of dense layers and of shared experts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/layer_context.h"
#include "engine/model/parameters.h"
#include "engine/parallel/linear.h"

namespace dsl::model {

/// down(silu(gate x) * up x); the intermediate features are split over the tensor shards. A value
/// over views.
class Mlp {
 public:
  /// `prefix` is "model.layers.N.mlp." or "model.layers.N.mlp.shared_experts.".
  static Result<Mlp> load(const LayerSource& source, const std::string& prefix,
                          std::int64_t intermediate_size);

  /// The workspace's update, complete on every shard. x [rows, hidden_size].
  Result<MatrixView<float>> forward(const LayerContext& context, const Matrix& x) const;
  /// As shared experts, whose sums routed ones add to.
  SharedExperts as_shared(const Workspace& workspace, std::int64_t rows) const;

  void append_parameters(Parameters& parameters);

 private:
  parallel::ColumnParallelLinear gate_proj_;  // [intermediate_size, hidden_size]
  parallel::ColumnParallelLinear up_proj_;    // [intermediate_size, hidden_size]
  parallel::RowParallelLinear down_proj_;     // [hidden_size, intermediate_size]
};

}  // namespace dsl::model
