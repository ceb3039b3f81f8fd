#include "tests/bench/gpu/shared_model.h"

#include <algorithm>

#include "engine/checkpoint/mapped_file.h"

namespace dsl::bench {

Result<checkpoint::ModelConfig> SharedModel::config() const {
  DSL_ASSIGN(const std::string text,
             checkpoint::read_text_file(config_path_, checkpoint::kMaxConfigBytes,
                                        ErrorCode::kModelConfig));
  DSL_ASSIGN(checkpoint::ModelConfig config, checkpoint::parse_model_config(text, config_path_));
  const auto cut = [](std::int64_t& size, std::int64_t max) { size = std::min(size, max); };
  cut(config.num_hidden_layers, sizes_.max_layers);
  cut(config.routing.n_routed_experts, sizes_.max_experts);
  cut(config.hidden_size, sizes_.max_hidden);
  cut(config.intermediate_size, sizes_.max_inner);
  cut(config.moe_intermediate_size, sizes_.max_expert_inner);
  cut(config.vocab_size, sizes_.max_vocab);
  return config;
}

Result<WholeModel*> SharedModel::in(ModelMode mode) {
  if (whole_ && mode_ == mode) return whole_.get();
  whole_.reset();
  DSL_ASSIGN(const checkpoint::ModelConfig read, config());
  DSL_ASSIGN(whole_, WholeModel::open(read, sizes_, mode));
  mode_ = mode;
  return whole_.get();
}

}  // namespace dsl::bench
