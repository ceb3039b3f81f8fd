#include "engine/model/decoder_layer.h"

#include <fmt/format.h>

namespace dsl::model {

Result<DecoderLayer> DecoderLayer::load(const LayerSource& source, std::int64_t layer) {
  const auto& config = source.config;
  const auto prefix = fmt::format("model.layers.{}.", layer);
  DecoderLayer result;
  result.rms_norm_eps_ = static_cast<float>(config.rms_norm_eps);
  DSL_ASSIGN(result.input_layernorm_,
             source.checkpoint.vector(prefix + "input_layernorm.weight", config.hidden_size));
  DSL_ASSIGN(
      result.post_attention_layernorm_,
      source.checkpoint.vector(prefix + "post_attention_layernorm.weight", config.hidden_size));
  DSL_ASSIGN(result.self_attn_, Attention::load(source, prefix + "self_attn."));
  if (config.is_moe_layer(layer)) {
    DSL_ASSIGN(result.mlp_, Moe::load(source, prefix + "mlp."));
  } else {
    DSL_ASSIGN(result.mlp_, Mlp::load(source, prefix + "mlp.", config.intermediate_size));
  }
  Parameters parameters;
  result.append_parameters(parameters);
  result.always_read_bytes_ = parameters.weight_bytes();
  if (const auto* moe = std::get_if<Moe>(&result.mlp_)) {
    result.always_read_bytes_ -= moe->routed_bytes();
  }
  return result;
}

Result<MatrixView<float>> DecoderLayer::forward(const LayerContext& context, const StepBatch& batch,
                                                const LatentCache& cache,
                                                const Matrix& hidden_states,
                                                const MatrixView<float>* update) const {
  Ops& ops = context.ops;
  const Matrix normed = context.workspace.normed(hidden_states.rows);
  const auto view = [](const MatrixView<float>& floats) -> MatrixView<const float> {
    return {floats.data, floats.rows, floats.cols, floats.row_stride};
  };

  if (update == nullptr) {
    ops.rms_norm(hidden_states, input_layernorm_, rms_norm_eps_, normed);
  } else {
    ops.add_rms_norm(hidden_states, view(*update), input_layernorm_, rms_norm_eps_, normed);
  }
  DSL_ASSIGN(const MatrixView<float> attention, self_attn_.forward(context, batch, cache, normed));
  ops.add_rms_norm(hidden_states, view(attention), post_attention_layernorm_, rms_norm_eps_,
                   normed);
  return std::visit([&](const auto& mlp) { return mlp.forward(context, normed); }, mlp_);
}

void DecoderLayer::append_parameters(Parameters& parameters) {
  parameters.vectors.insert(parameters.vectors.end(),
                            {&input_layernorm_, &post_attention_layernorm_});
  self_attn_.append_parameters(parameters);
  std::visit([&](auto& mlp) { mlp.append_parameters(parameters); }, mlp_);
}

std::int64_t DecoderLayer::bytes_read(std::span<const std::int32_t> expert_ids) const {
  const auto* moe = std::get_if<Moe>(&mlp_);
  return always_read_bytes_ + (moe == nullptr ? 0 : moe->routed_bytes_read(expert_ids));
}

}  // namespace dsl::model
