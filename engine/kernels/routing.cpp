#include "engine/kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace dsl {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

void softmax(std::span<float> values) {
  const float largest = *std::max_element(values.begin(), values.end());
  float sum = 0;
  for (float& value : values) {
    value = std::exp(value - largest);
    sum += value;
  }
  for (float& value : values) value /= sum;
}

void sigmoid(std::span<float> values) {
  for (float& value : values) value = 1.0f / (1.0f + std::exp(-value));
}

/// Marks the `count` largest values; among equal ones the lower index wins.
void mark_largest(std::span<const float> values, std::int64_t count, std::span<char> chosen) {
  std::fill(chosen.begin(), chosen.end(), char{0});
  for (std::int64_t i = 0; i < count; ++i) {
    std::size_t best = values.size();
    for (std::size_t e = 0; e < values.size(); ++e) {
      if (!chosen[e] && (best == values.size() || values[e] > values[best])) best = e;
    }
    chosen[best] = 1;
  }
}

float group_score(std::span<const float> group, TopkMethod method) {
  float first = kExcluded;
  float second = kExcluded;
  for (const float value : group) {
    if (value > first) {
      second = first;
      first = value;
    } else if (value > second) {
      second = value;
    }
  }
  return method == TopkMethod::kNoauxTc && group.size() > 1 ? first + second : first;
}

void exclude_weak_groups(std::span<float> choice, const RoutingConfig& config) {
  const auto num_groups = static_cast<std::size_t>(config.n_group);
  const std::size_t group_size = choice.size() / num_groups;
  std::vector<float> scores(num_groups);
  for (std::size_t g = 0; g < num_groups; ++g) {
    scores[g] = group_score(choice.subspan(g * group_size, group_size), config.topk_method);
  }
  std::vector<char> kept(num_groups);
  mark_largest(scores, config.topk_group, kept);
  for (std::size_t e = 0; e < choice.size(); ++e) {
    if (!kept[e / group_size]) choice[e] = kExcluded;
  }
}

/// The factor that turns scores of chosen experts into weights. V2 normalises or scales, V3 does
/// both.
float weight_factor(const RoutingConfig& config, float sum) {
  if (!config.norm_topk_prob) return config.routed_scaling_factor;
  const float normaliser = 1.0f / (sum + 1e-20f);
  return config.scoring_func == ScoringFunc::kSoftmax ? normaliser
                                                      : normaliser * config.routed_scaling_factor;
}

}  // namespace

void choose_experts(std::span<float> logits, std::span<const float> bias,
                    const RoutingConfig& config, std::int32_t* expert_ids, float* weights) {
  DSL_CHECK(std::ssize(logits) == config.n_routed_experts &&
                config.num_experts_per_tok <= config.n_routed_experts && config.n_group >= 1 &&
                config.n_routed_experts % config.n_group == 0 &&
                config.topk_group <= config.n_group &&
                (bias.empty() || bias.size() == logits.size()),
            "{} logits, {} biases, {} experts, top {}, {} of {} groups", logits.size(), bias.size(),
            config.n_routed_experts, config.num_experts_per_tok, config.topk_group, config.n_group);
  const std::span<float> scores = logits;
  if (config.scoring_func == ScoringFunc::kSoftmax) {
    softmax(scores);
  } else {
    sigmoid(scores);
  }
  std::vector<float> choice(scores.begin(), scores.end());
  if (config.topk_method == TopkMethod::kNoauxTc) {
    for (std::size_t e = 0; e < bias.size(); ++e) choice[e] += bias[e];
  }
  if (config.topk_method != TopkMethod::kGreedy && config.n_group > 1) {
    exclude_weak_groups(choice, config);
  }
  std::vector<char> chosen(choice.size());
  mark_largest(choice, config.num_experts_per_tok, chosen);
  std::int64_t count = 0;
  float sum = 0;
  for (std::size_t e = 0; e < chosen.size(); ++e) {
    if (!chosen[e]) continue;
    expert_ids[count] = static_cast<std::int32_t>(e);
    weights[count++] = scores[e];
    sum += scores[e];
  }
  const float factor = weight_factor(config, sum);
  for (std::int64_t i = 0; i < count; ++i) weights[i] *= factor;
}

}  // namespace dsl
