#include "engine/model/model_costs.h"

#include <charconv>
#include <optional>
#include <string_view>

namespace dsl::model {
namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";

/// N of "model.layers.N.…".
std::optional<std::int64_t> layer_of(std::string_view name) {
  if (!name.starts_with(kLayerPrefix)) return std::nullopt;
  name.remove_prefix(kLayerPrefix.size());
  std::int64_t layer = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (parsed.ec != std::errc{} || parsed.ptr == name.data() + name.size() || *parsed.ptr != '.') {
    return std::nullopt;
  }
  return layer;
}

}  // namespace

std::vector<parallel::SplitDimension> split_dimensions(const checkpoint::ModelConfig& config) {
  std::vector<parallel::SplitDimension> result{{"num_attention_heads", config.num_attention_heads},
                                               {"vocab_size", config.vocab_size}};
  bool has_dense = false;
  bool has_moe = false;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    (config.is_moe_layer(layer) ? has_moe : has_dense) = true;
  }
  if (has_dense) result.push_back({"intermediate_size", config.intermediate_size});
  if (has_moe) {
    result.push_back({"n_routed_experts", config.routing.n_routed_experts});
    if (config.n_shared_experts > 0) {
      result.push_back({"n_shared_experts * moe_intermediate_size",
                        config.n_shared_experts * config.moe_intermediate_size});
    }
  }
  return result;
}

parallel::ModelCosts model_costs(const checkpoint::Checkpoint& checkpoint,
                                 const checkpoint::ModelConfig& config) {
  parallel::ModelCosts costs;
  costs.layer_bytes.resize(static_cast<std::size_t>(config.num_hidden_layers));
  for (const auto& tensor : checkpoint.tensors()) {
    if (const auto layer = layer_of(tensor.name)) {
      if (*layer < config.num_hidden_layers) {
        costs.layer_bytes[static_cast<std::size_t>(*layer)] += tensor.size_bytes;
      }
    } else if (tensor.name == kEmbedding) {
      costs.embedding_bytes = tensor.size_bytes;
      if (config.tie_word_embeddings) costs.head_bytes = tensor.size_bytes;
    } else if (tensor.name == kHead) {
      costs.head_bytes = tensor.size_bytes;
    }
  }
  return costs;
}

std::int64_t active_bytes_per_token(const checkpoint::Checkpoint& checkpoint,
                                    const checkpoint::ModelConfig& config) {
  std::int64_t bytes = 0;
  std::int64_t expert_bytes = 0;
  for (const auto& tensor : checkpoint.tensors()) {
    const auto layer = layer_of(tensor.name);
    if (layer && *layer >= config.num_hidden_layers) continue;
    if (layer && tensor.name.find(".mlp.experts.") != std::string_view::npos) {
      expert_bytes += tensor.size_bytes;
    } else if (tensor.name == kEmbedding) {
      bytes += tensor.size_bytes / config.vocab_size;
      if (config.tie_word_embeddings) bytes += tensor.size_bytes;
    } else if (layer || tensor.name == kHead || tensor.name == "model.norm.weight") {
      bytes += tensor.size_bytes;
    }
  }
  if (config.has_routed_experts()) {
    bytes += expert_bytes * config.routing.num_experts_per_tok / config.routing.n_routed_experts;
  }
  return bytes;
}

}  // namespace dsl::model
