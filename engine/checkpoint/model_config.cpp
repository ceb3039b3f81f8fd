#include "engine/checkpoint/model_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/config_fields.h"
#include "engine/checkpoint/mapped_file.h"
#include "transport/base/strict_json.h"

namespace dsl::checkpoint {
namespace {

using nlohmann::json;

// Far above any model, and small enough that byte counts of a whole model stay within 63 bits.
constexpr std::int64_t kMaxDimension = 1 << 20;
constexpr std::int64_t kMaxVocabulary = 1 << 22;
constexpr std::int64_t kMaxHeads = 1 << 12;
constexpr std::int64_t kMaxHeadDimension = 1 << 13;
constexpr std::int64_t kMaxLayers = 1 << 12;
constexpr std::int64_t kMaxExpertsOfAllLayers = 1 << 18;

Result<ModelType> parse_model_type(const Fields& fields) {
  DSL_ASSIGN(const std::string name, fields.text("model_type"));
  if (name == "deepseek_v2") return ModelType::kDeepseekV2;
  if (name == "deepseek_v3") return ModelType::kDeepseekV3;
  return fields.unsupported("model_type", "deepseek_v2 or deepseek_v3");
}

/// Switches of the architecture that are read nowhere else: only the value this engine implements
/// may stand there.
Status check_fixed_fields(const Fields& fields, std::int64_t num_heads) {
  for (const char* name : {"attention_bias", "mlp_bias"}) {
    DSL_ASSIGN(const bool is_on, fields.boolean_or(name, false));
    if (is_on) return fields.unsupported(name, "false");
  }
  DSL_ASSIGN(const bool is_interleaved, fields.boolean_or("rope_interleave", true));
  if (!is_interleaved) return fields.unsupported("rope_interleave", "true");
  DSL_ASSIGN(const std::string activation, fields.text_or("hidden_act", "silu"));
  if (activation != "silu") return fields.unsupported("hidden_act", "\"silu\"");
  DSL_ASSIGN(const std::int64_t num_kv_heads,
             fields.integer_or("num_key_value_heads", num_heads, 1, kMaxDimension));
  if (num_kv_heads != num_heads) {
    return fields.unsupported("num_key_value_heads", "the value of num_attention_heads");
  }
  for (const char* name : {"sliding_window", "index_topk", "index_n_heads", "hc_mult",
                           "text_config", "vision_config"}) {
    if (fields.has(name)) return fields.unsupported(name, "no such field");
  }
  return {};
}

Status read_shape(const Fields& fields, ModelConfig& config) {
  DSL_ASSIGN(config.vocab_size, fields.integer("vocab_size", 1, kMaxVocabulary));
  DSL_ASSIGN(config.hidden_size, fields.integer("hidden_size", 1, kMaxDimension));
  DSL_ASSIGN(config.intermediate_size, fields.integer("intermediate_size", 1, kMaxDimension));
  DSL_ASSIGN(config.num_hidden_layers, fields.integer("num_hidden_layers", 1, kMaxLayers));
  DSL_ASSIGN(config.num_nextn_predict_layers,
             fields.integer_or("num_nextn_predict_layers", 0, 0, 64));
  DSL_ASSIGN(config.num_attention_heads, fields.integer("num_attention_heads", 1, kMaxHeads));
  if (fields.has("q_lora_rank")) {
    DSL_ASSIGN(config.q_lora_rank, fields.integer("q_lora_rank", 1, kMaxDimension));
  }
  DSL_ASSIGN(config.kv_lora_rank, fields.integer("kv_lora_rank", 1, kMaxDimension));
  DSL_ASSIGN(config.qk_nope_head_dim, fields.integer("qk_nope_head_dim", 1, kMaxHeadDimension));
  DSL_ASSIGN(config.qk_rope_head_dim, fields.integer("qk_rope_head_dim", 2, kMaxHeadDimension));
  DSL_ASSIGN(config.v_head_dim, fields.integer("v_head_dim", 1, kMaxHeadDimension));
  if (config.qk_rope_head_dim % 2 != 0) {
    return fields.wrong("qk_rope_head_dim", "an even number: rotations act on pairs");
  }
  DSL_ASSIGN(config.rms_norm_eps, fields.number_or("rms_norm_eps", 1e-6, 0, 1));
  DSL_ASSIGN(config.max_position_embeddings,
             fields.integer("max_position_embeddings", 1, std::int64_t{1} << 31));
  DSL_ASSIGN(config.tie_word_embeddings, fields.boolean_or("tie_word_embeddings", false));
  DSL_ASSIGN(const std::string dtype, fields.text_or("torch_dtype", "bfloat16"));
  DSL_ASSIGN(config.torch_dtype, fields.text_or("dtype", dtype));
  return {};
}

Status read_routing_method(const Fields& fields, ModelConfig& config) {
  const bool is_v3 = config.model_type == ModelType::kDeepseekV3;
  RoutingConfig& routing = config.routing;
  DSL_ASSIGN(const std::string scoring,
             fields.text_or("scoring_func", is_v3 ? "sigmoid" : "softmax"));
  if (scoring != "sigmoid" && scoring != "softmax")
    return fields.unsupported("scoring_func", "sigmoid or softmax");
  routing.scoring_func = scoring == "sigmoid" ? ScoringFunc::kSigmoid : ScoringFunc::kSoftmax;
  DSL_ASSIGN(const std::string method,
             fields.text_or("topk_method", is_v3 ? "noaux_tc" : "greedy"));
  if (method == "noaux_tc") {
    routing.topk_method = TopkMethod::kNoauxTc;
  } else if (method == "greedy") {
    routing.topk_method = TopkMethod::kGreedy;
  } else if (method == "group_limited_greedy") {
    routing.topk_method = TopkMethod::kGroupLimitedGreedy;
  } else {
    return fields.unsupported("topk_method", "noaux_tc, greedy or group_limited_greedy");
  }
  // The two pairs that the published models have; others have no reference to be exact against.
  if ((routing.topk_method == TopkMethod::kNoauxTc) !=
      (routing.scoring_func == ScoringFunc::kSigmoid)) {
    return fields.unsupported("topk_method",
                              "noaux_tc with sigmoid, greedy or group_limited_greedy with softmax");
  }
  return {};
}

Status read_experts(const Fields& fields, ModelConfig& config) {
  RoutingConfig& routing = config.routing;
  DSL_ASSIGN(routing.n_routed_experts,
             fields.integer_or("n_routed_experts", 0, 0,
                               kMaxExpertsOfAllLayers / config.num_hidden_layers));
  DSL_ASSIGN(config.n_shared_experts, fields.integer_or("n_shared_experts", 0, 0, 64));
  DSL_ASSIGN(config.first_k_dense_replace,
             fields.integer_or("first_k_dense_replace", 0, 0, kMaxLayers));
  DSL_ASSIGN(config.moe_layer_freq, fields.integer_or("moe_layer_freq", 1, 1, kMaxLayers));
  if (!config.has_routed_experts()) return {};

  DSL_ASSIGN(config.moe_intermediate_size,
             fields.integer("moe_intermediate_size", 1, kMaxDimension));
  DSL_ASSIGN(routing.num_experts_per_tok,
             fields.integer("num_experts_per_tok", 1, routing.n_routed_experts));
  DSL_ASSIGN(routing.norm_topk_prob,
             fields.boolean_or("norm_topk_prob", config.model_type == ModelType::kDeepseekV3));
  DSL_ASSIGN(const double scale, fields.number_or("routed_scaling_factor", 1.0, 0, 1e6));
  routing.routed_scaling_factor = static_cast<float>(scale);
  DSL_TRY(read_routing_method(fields, config));
  if (routing.topk_method == TopkMethod::kGreedy) return {};

  DSL_ASSIGN(routing.n_group, fields.integer_or("n_group", 1, 1, routing.n_routed_experts));
  DSL_ASSIGN(routing.topk_group, fields.integer_or("topk_group", 1, 1, routing.n_group));
  if (routing.n_routed_experts % routing.n_group != 0)
    return fields.wrong("n_group", "a divisor of n_routed_experts");
  const std::int64_t group_size = routing.n_routed_experts / routing.n_group;
  if (routing.topk_method == TopkMethod::kNoauxTc && routing.n_group > 1 && group_size < 2) {
    return fields.wrong("n_group",
                        "groups of two experts or more: noaux_tc sums the two best of a group");
  }
  if (routing.num_experts_per_tok > group_size * routing.topk_group) {
    return fields.wrong("num_experts_per_tok",
                        fmt::format("at most the {} experts of topk_group = {} groups",
                                    group_size * routing.topk_group, routing.topk_group));
  }
  return {};
}

Status read_yarn(const Fields& rope, ModelConfig& config) {
  YarnConfig yarn;
  DSL_ASSIGN(yarn.factor, rope.number("factor", 1, 1e6));
  DSL_ASSIGN(yarn.original_max_position_embeddings,
             rope.integer("original_max_position_embeddings", 1, std::int64_t{1} << 31));
  DSL_ASSIGN(yarn.beta_fast, rope.number_or("beta_fast", 32, 1e-6, 1e6));
  DSL_ASSIGN(yarn.beta_slow, rope.number_or("beta_slow", 1, 1e-6, 1e6));
  DSL_ASSIGN(yarn.mscale, rope.number_or("mscale", 1, 0, 1e3));
  DSL_ASSIGN(yarn.mscale_all_dim, rope.number_or("mscale_all_dim", 0, 0, 1e3));
  if (rope.has("attention_factor")) return rope.unsupported("attention_factor", "no such field");
  DSL_ASSIGN(const bool is_truncated, rope.boolean_or("truncate", true));
  if (!is_truncated) return rope.unsupported("truncate", "true");
  config.yarn = yarn;
  return {};
}

/// rope_scaling (key type or rope_type) or rope_parameters, which holds rope_theta too.
Status read_rope(const Fields& fields, ModelConfig& config) {
  DSL_ASSIGN(config.rope_theta, fields.number_or("rope_theta", 10000, 1e-3, 1e12));
  if (fields.has("rope_scaling") && fields.has("rope_parameters")) {
    return fields.wrong("rope_parameters", "either rope_scaling or rope_parameters, not both");
  }
  const char* name = fields.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!fields.has(name)) return {};
  DSL_ASSIGN(const Fields rope, fields.object(name));
  DSL_ASSIGN(config.rope_theta, rope.number_or("rope_theta", config.rope_theta, 1e-3, 1e12));
  const char* type_key = rope.has("rope_type") ? "rope_type" : "type";
  DSL_ASSIGN(const std::string type, rope.text_or(type_key, "default"));
  if (type == "default") return {};
  if (type != "yarn") return rope.unsupported(type_key, "yarn or default");
  return read_yarn(rope, config);
}

Status read_quantization(const Fields& fields, ModelConfig& config) {
  if (!fields.has("quantization_config")) return {};
  DSL_ASSIGN(const Fields quantization, fields.object("quantization_config"));
  DSL_ASSIGN(const std::string method, quantization.text("quant_method"));
  if (method != "fp8") return quantization.unsupported("quant_method", "fp8");
  DSL_ASSIGN(const std::string format, quantization.text_or("fmt", "e4m3"));
  if (format != "e4m3") return quantization.unsupported("fmt", "e4m3");
  DSL_ASSIGN(const std::string scheme, quantization.text_or("activation_scheme", "dynamic"));
  if (scheme != "dynamic") return quantization.unsupported("activation_scheme", "dynamic");
  Fp8Config fp8;
  DSL_ASSIGN(const std::vector<std::int64_t> block, quantization.integers("weight_block_size"));
  if (block != std::vector<std::int64_t>{fp8.block_rows, fp8.block_cols}) {
    return quantization.unsupported("weight_block_size",
                                    fmt::format("[{}, {}]", fp8.block_rows, fp8.block_cols));
  }
  DSL_ASSIGN(const std::string scale_format, quantization.text_or("scale_fmt", "float"));
  if (scale_format != "float" && scale_format != "ue8m0")
    return quantization.unsupported("scale_fmt", "ue8m0");
  fp8.ue8m0_scales = scale_format == "ue8m0";
  config.fp8 = fp8;
  return {};
}

Status read_token_ids(const Fields& fields, ModelConfig& config) {
  DSL_ASSIGN(const std::vector<std::int64_t> eos, fields.integers("eos_token_id"));
  config.eos_token_ids.clear();
  for (const std::int64_t id : eos) {
    if (id < 0 || id >= config.vocab_size)
      return fields.wrong("eos_token_id", "ids inside the vocabulary");
    config.eos_token_ids.push_back(static_cast<std::int32_t>(id));
  }
  if (fields.has("bos_token_id")) {
    DSL_ASSIGN(const std::int64_t bos, fields.integer("bos_token_id", 0, config.vocab_size - 1));
    config.bos_token_id = static_cast<std::int32_t>(bos);
  }
  return {};
}

Result<json> parse_object(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(json document, parse_json(text, origin, ErrorCode::kModelConfig));
  if (document.is_object()) return document;
  return fail(ErrorCode::kModelConfig, "give the config.json of a Hugging Face model",
              "{}: expected a JSON object", origin);
}

}  // namespace

bool ModelConfig::is_moe_layer(std::int64_t layer) const {
  return has_routed_experts() && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
}

double ModelConfig::softmax_scale() const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(qk_head_dim()));
  if (!yarn || yarn->mscale_all_dim == 0 || yarn->factor <= 1) return scale;
  const double mscale = 0.1 * yarn->mscale_all_dim * std::log(yarn->factor) + 1.0;
  return scale * mscale * mscale;
}

Result<ModelConfig> parse_model_config(std::string_view text, std::string_view origin) {
  DSL_ASSIGN(const json document, parse_object(text, origin));
  const Fields fields(document, origin);
  ModelConfig config;
  DSL_ASSIGN(config.model_type, parse_model_type(fields));
  DSL_TRY(read_shape(fields, config));
  DSL_TRY(check_fixed_fields(fields, config.num_attention_heads));
  DSL_TRY(read_experts(fields, config));
  DSL_TRY(read_rope(fields, config));
  DSL_TRY(read_quantization(fields, config));
  DSL_TRY(read_token_ids(fields, config));
  return config;
}

Result<ModelConfig> load_model_config(const std::filesystem::path& model_dir) {
  const auto path = model_dir / "config.json";
  DSL_ASSIGN(const std::string text,
             read_text_file(path, kMaxConfigBytes, ErrorCode::kModelConfig));
  DSL_ASSIGN(ModelConfig config, parse_model_config(text, path.string()));
  const auto generation_path = model_dir / "generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(generation_path, ignored)) return config;
  DSL_ASSIGN(const std::string generation_text,
             read_text_file(generation_path, kMaxConfigBytes, ErrorCode::kModelConfig));
  DSL_ASSIGN(const json generation, parse_object(generation_text, generation_path.string()));
  const Fields fields(generation, generation_path.string());
  if (fields.has("eos_token_id")) DSL_TRY(read_token_ids(fields, config));
  return config;
}

}  // namespace dsl::checkpoint
