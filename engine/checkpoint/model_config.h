// What config.json says of a model, with Hugging Face's field names; every choice in the engine
// comes from here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kernels/ops.h"
#include "transport/base/error.h"

namespace dsl::checkpoint {

enum class ModelType : std::uint8_t { kDeepseekV2, kDeepseekV3 };

/// rope_scaling / rope_parameters of type yarn.
struct YarnConfig {
  double factor = 1;
  std::int64_t original_max_position_embeddings = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
};

/// quantization_config of method fp8: block-quantised e4m3 weights.
struct Fp8Config {
  std::int32_t block_rows = 128;
  std::int32_t block_cols = 128;
  bool ue8m0_scales = false;
};

struct ModelConfig {
  ModelType model_type = ModelType::kDeepseekV3;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t moe_intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_nextn_predict_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::optional<std::int64_t> q_lora_rank;
  std::int64_t kv_lora_rank = 0;
  std::int64_t qk_nope_head_dim = 0;
  std::int64_t qk_rope_head_dim = 0;
  std::int64_t v_head_dim = 0;
  std::int64_t n_shared_experts = 0;  // 0: none
  std::int64_t first_k_dense_replace = 0;
  std::int64_t moe_layer_freq = 1;
  RoutingConfig routing;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<YarnConfig> yarn;
  std::int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  std::optional<Fp8Config> fp8;
  std::string torch_dtype = "bfloat16";
  std::vector<std::int32_t> eos_token_ids;
  std::optional<std::int32_t> bos_token_id;

  bool has_routed_experts() const { return routing.n_routed_experts > 0; }
  /// True for a mixture-of-experts layer, false for a dense one.
  bool is_moe_layer(std::int64_t layer) const;
  std::int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// qk_head_dim^-1/2 times YaRN's mscale^2.
  double softmax_scale() const;
};

/// Larger files are no configuration.
inline constexpr std::size_t kMaxConfigBytes = 16u << 20;

/// Reads and validates config.json (and generation_config.json for eos ids when it is there). An
/// unsupported architecture or field is kModelUnsupported and names it; a missing or contradictory
/// field is kModelConfig.
Result<ModelConfig> load_model_config(const std::filesystem::path& model_dir);
/// The same from the text of config.json; `origin` names it in errors.
Result<ModelConfig> parse_model_config(std::string_view json, std::string_view origin);

}  // namespace dsl::checkpoint
