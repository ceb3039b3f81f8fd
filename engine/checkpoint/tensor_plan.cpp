#include "engine/checkpoint/tensor_plan.h"

#include <fmt/format.h>

#include <functional>
#include <numeric>

namespace dsl::checkpoint {
namespace {

class Planner {
 public:
  explicit Planner(const ModelConfig& config) : config_(config) {}

  std::vector<PlannedTensor> plan() && {
    const std::int64_t vocab = config_.vocab_size;
    const std::int64_t hidden = config_.hidden_size;
    add("model.embed_tokens.weight", {vocab, hidden}, TensorRole::kEmbedding,
        Component::kEmbedding);
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) add_layer(layer);
    add_norm("model.norm.weight", hidden);
    if (!config_.tie_word_embeddings) {
      add("lm_head.weight", {vocab, hidden}, TensorRole::kWideLinear, Component::kHead);
    }
    for (std::int64_t i = 0; i < config_.num_nextn_predict_layers; ++i) {
      add_mtp_layer(config_.num_hidden_layers + i);
    }
    return std::move(tensors_);
  }

 private:
  void add(std::string name, std::vector<std::int64_t> shape, TensorRole role,
           Component component) {
    tensors_.push_back({std::move(name), std::move(shape), role, component, {}});
  }
  void add_norm(std::string name, std::int64_t size) {
    add(std::move(name), {size}, TensorRole::kNorm, Component::kNorms);
  }

  void add_mlp(const std::string& prefix, std::int64_t inner, Component component) {
    const std::int64_t hidden = config_.hidden_size;
    add(prefix + "gate_proj.weight", {inner, hidden}, TensorRole::kLinear, component);
    add(prefix + "up_proj.weight", {inner, hidden}, TensorRole::kLinear, component);
    add(prefix + "down_proj.weight", {hidden, inner}, TensorRole::kLinear, component);
  }

  void add_attention(const std::string& prefix) {
    const auto linear = [&](const char* name, std::int64_t out, std::int64_t in) {
      add(prefix + name, {out, in}, TensorRole::kLinear, Component::kAttention);
    };
    const std::int64_t hidden = config_.hidden_size;
    const std::int64_t heads = config_.num_attention_heads;
    const std::int64_t q_size = heads * config_.qk_head_dim();
    if (config_.q_lora_rank) {
      linear("q_a_proj.weight", *config_.q_lora_rank, hidden);
      add_norm(prefix + "q_a_layernorm.weight", *config_.q_lora_rank);
      linear("q_b_proj.weight", q_size, *config_.q_lora_rank);
    } else {
      linear("q_proj.weight", q_size, hidden);
    }
    linear("kv_a_proj_with_mqa.weight", config_.kv_lora_rank + config_.qk_rope_head_dim, hidden);
    add_norm(prefix + "kv_a_layernorm.weight", config_.kv_lora_rank);
    linear("kv_b_proj.weight", heads * (config_.qk_nope_head_dim + config_.v_head_dim),
           config_.kv_lora_rank);
    linear("o_proj.weight", hidden, heads * config_.v_head_dim);
  }

  void add_experts(const std::string& prefix) {
    const std::int64_t experts = config_.routing.n_routed_experts;
    add(prefix + "gate.weight", {experts, config_.hidden_size}, TensorRole::kWideLinear,
        Component::kRouter);
    if (config_.routing.topk_method == TopkMethod::kNoauxTc) {
      add(prefix + "gate.e_score_correction_bias", {experts}, TensorRole::kRouterBias,
          Component::kRouter);
    }
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      add_mlp(fmt::format("{}experts.{}.", prefix, expert), config_.moe_intermediate_size,
              Component::kRoutedExperts);
    }
    if (config_.n_shared_experts > 0) {
      add_mlp(prefix + "shared_experts.", config_.n_shared_experts * config_.moe_intermediate_size,
              Component::kSharedExperts);
    }
  }

  void add_layer(std::int64_t layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    add_norm(prefix + "input_layernorm.weight", config_.hidden_size);
    add_attention(prefix + "self_attn.");
    add_norm(prefix + "post_attention_layernorm.weight", config_.hidden_size);
    if (config_.is_moe_layer(layer)) {
      add_experts(prefix + "mlp.");
    } else {
      add_mlp(prefix + "mlp.", config_.intermediate_size, Component::kDenseMlp);
    }
  }

  void add_mtp_layer(std::int64_t layer) {
    const std::size_t first = tensors_.size();
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const std::int64_t vocab = config_.vocab_size;
    const std::int64_t hidden = config_.hidden_size;
    add(prefix + "embed_tokens.weight", {vocab, hidden}, TensorRole::kEmbedding, Component::kMtp);
    tensors_.back().same_values_as = "model.embed_tokens.weight";
    add_norm(prefix + "enorm.weight", hidden);
    add_norm(prefix + "hnorm.weight", hidden);
    add(prefix + "eh_proj.weight", {hidden, 2 * hidden}, TensorRole::kWideLinear, Component::kMtp);
    add_layer(layer);
    add_norm(prefix + "shared_head.norm.weight", hidden);
    add(prefix + "shared_head.head.weight", {vocab, hidden}, TensorRole::kWideLinear,
        Component::kMtp);
    tensors_.back().same_values_as = "lm_head.weight";
    for (std::size_t i = first; i < tensors_.size(); ++i) tensors_[i].component = Component::kMtp;
  }

  const ModelConfig& config_;
  std::vector<PlannedTensor> tensors_;
};

}  // namespace

std::string_view name_of(Component component) {
  switch (component) {
    case Component::kEmbedding:
      return "embedding";
    case Component::kAttention:
      return "attention";
    case Component::kDenseMlp:
      return "dense_mlp";
    case Component::kRouter:
      return "router";
    case Component::kRoutedExperts:
      return "routed_experts";
    case Component::kSharedExperts:
      return "shared_experts";
    case Component::kNorms:
      return "norms";
    case Component::kHead:
      return "head";
    case Component::kMtp:
      return "mtp";
  }
  return "unknown";
}

std::int64_t PlannedTensor::num_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::vector<PlannedTensor> plan_tensors(const ModelConfig& config) {
  return Planner(config).plan();
}

}  // namespace dsl::checkpoint
