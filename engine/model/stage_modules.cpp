#include "engine/model/stage_modules.h"

namespace dsl::model {

Result<StageModules> StageModules::load(const LayerSource& source,
                                        const parallel::ParallelPlan& plan, int stage) {
  const auto& [checkpoint, config, tp, fp8_activations] = source;
  if (fp8_activations && !config.fp8) {
    return fail(ErrorCode::kInvalidArgument,
                "leave --fp8-activations out, or take a checkpoint with FP8 weights",
                "FP8 activations: expected a checkpoint with a quantization_config of method fp8, "
                "found none in the model's config.json");
  }
  const auto [first_layer, num_layers] = plan.stage(stage);
  StageModules result;
  for (std::int64_t layer = first_layer; layer < first_layer + num_layers; ++layer) {
    DSL_ASSIGN(DecoderLayer loaded, DecoderLayer::load(source, layer));
    result.layers.push_back(std::move(loaded));
  }
  if (stage == 0) {
    DSL_ASSIGN(const WeightView table, checkpoint.weight("model.embed_tokens.weight",
                                                         config.vocab_size, config.hidden_size));
    result.embed_tokens.emplace(table, tp);
  }
  if (stage == plan.pp() - 1) {
    DSL_ASSIGN(result.norm, checkpoint.vector("model.norm.weight", config.hidden_size));
    const auto* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    DSL_ASSIGN(const WeightView weight,
               checkpoint.weight(head, config.vocab_size, config.hidden_size));
    result.lm_head.emplace(weight, tp);
  }
  return result;
}

Parameters StageModules::parameters() {
  Parameters result;
  if (embed_tokens) result.weights.push_back(embed_tokens->mutable_weight());
  for (DecoderLayer& layer : layers) layer.append_parameters(result);
  if (lm_head) {
    result.vectors.push_back(&norm);
    result.weights.push_back(lm_head->mutable_weight());
  }
  return result;
}

}  // namespace dsl::model
