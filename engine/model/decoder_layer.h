// One decoder layer: attention and feed-forward, each behind a norm and added to the residual
// stream.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "engine/model/attention.h"
#include "engine/model/mlp.h"
#include "engine/model/moe.h"

namespace dsl::model {

/// "model.layers.N". A value over the checkpoint's views.
class DecoderLayer {
 public:
  static Result<DecoderLayer> load(const LayerSource& source, std::int64_t layer);

  /// Adds to hidden_states [rows, hidden_size] what the layer before has left (`update`; null: this
  /// is the first) and what attention makes of them. Returns what the feed-forward makes of those,
  /// which is still to be added.
  Result<MatrixView<float>> forward(const LayerContext& context, const StepBatch& batch,
                                    const LatentCache& cache, const Matrix& hidden_states,
                                    const MatrixView<float>* update) const;

  void append_parameters(Parameters& parameters);
  /// Stored bytes of the distinct weights of this shard that a step whose rows chose these experts
  /// touches.
  std::int64_t bytes_read(std::span<const std::int32_t> expert_ids) const;

 private:
  std::int64_t always_read_bytes_ = 0;  // all but routed experts
  float rms_norm_eps_ = 0;
  VectorView input_layernorm_;           // [hidden_size]
  VectorView post_attention_layernorm_;  // [hidden_size]
  Attention self_attn_;
  std::variant<Mlp, Moe> mlp_;
};

}  // namespace dsl::model
