// The tensors that a configuration asks for: names, shapes and what each is for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/model_config.h"

namespace dsl::checkpoint {

/// The part of the model a tensor belongs to.
enum class Component : std::uint8_t {
  kEmbedding,
  kAttention,
  kDenseMlp,
  kRouter,
  kRoutedExperts,
  kSharedExperts,
  kNorms,
  kHead,
  kMtp,  // everything of the multi-token prediction layers
};
inline constexpr int kNumComponents = 9;
std::string_view name_of(Component component);

/// What a tensor's values are; decides how it is stored and synthesised.
enum class TensorRole : std::uint8_t {
  kEmbedding,
  kNorm,
  kLinear,      // block-quantised in an FP8 checkpoint
  kWideLinear,  // head, router, MTP projection: never quantised
  kRouterBias,  // float32
};

struct PlannedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  TensorRole role = TensorRole::kLinear;
  Component component = Component::kAttention;
  std::string same_values_as;  // an MTP layer's copies of embedding and head; empty: its own values

  std::int64_t num_elements() const;
  const std::string& values_name() const { return same_values_as.empty() ? name : same_values_as; }
};

/// Every tensor of the model in the order of its layers, those of the MTP layers last. Scales of
/// FP8 weights are not listed: they belong to their weights.
std::vector<PlannedTensor> plan_tensors(const ModelConfig& config);

}  // namespace dsl::checkpoint
