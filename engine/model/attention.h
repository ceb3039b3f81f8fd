// Multi-head latent attention with heads split over the tensor shards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/model/layer_context.h"
#include "engine/model/parameters.h"
#include "engine/model/step_batch.h"
#include "engine/parallel/linear.h"

namespace dsl::model {

/// The self_attn module of one layer. A value over the checkpoint's views.
class Attention {
 public:
  /// `prefix` is "model.layers.N.self_attn.".
  static Result<Attention> load(const LayerSource& source, const std::string& prefix);

  /// Attends from x [rows, hidden_size] and returns the layer's output as the workspace's update.
  Result<MatrixView<float>> forward(const LayerContext& context, const StepBatch& batch,
                                    const LatentCache& cache, const Matrix& x) const;

  void append_parameters(Parameters& parameters);

 private:
  /// Queries through a low-rank bottleneck.
  struct QueryLora {
    WeightView q_a_proj;       // [q_lora_rank, hidden_size], whole on every shard
    VectorView q_a_layernorm;  // [q_lora_rank]
  };

  void project(const LayerContext& context, const Matrix& x, const Matrix& q,
               const Matrix& compressed_kv) const;

  MlaShape shape_;
  float rms_norm_eps_ = 0;
  std::optional<QueryLora> q_lora_;
  parallel::ColumnParallelLinear q_proj_;  // q_b_proj with a bottleneck: [heads * qk_head_dim, in]
  /// [kv_lora_rank + qk_rope_head_dim, hidden_size], whole on every shard.
  WeightView kv_a_proj_with_mqa_;
  VectorView kv_a_layernorm_;                 // [kv_lora_rank]
  parallel::ColumnParallelLinear kv_b_proj_;  // [heads * (nope + v), kv_lora_rank]
  parallel::RowParallelLinear o_proj_;        // [hidden_size, heads * v_head_dim]
};

}  // namespace dsl::model
