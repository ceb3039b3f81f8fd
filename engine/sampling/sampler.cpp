#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "engine/sampling/noise.h"

namespace dsl::sampling {
namespace {

// Below this a division by the temperature could overflow; the choice is greedy long before.
constexpr float kGreedyTemperature = 1e-5f;
constexpr float kExcluded = -std::numeric_limits<float>::infinity();

/// Higher logit first; ties take the lower id.
struct ByLogit {
  std::span<const float> logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    const float logit_a = logits[static_cast<std::size_t>(a)];
    const float logit_b = logits[static_cast<std::size_t>(b)];
    return logit_a != logit_b ? logit_a > logit_b : a < b;
  }
};

std::int32_t argmax(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Status check_logits(std::span<const float> logits, std::int64_t position) {
  bool has_choice = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {
      return fail(ErrorCode::kInternal, "check the checkpoint; its weights may be damaged",
                  "the logit of token {} at position {} is {}", i, position, logits[i]);
    }
    has_choice = has_choice || logits[i] != kExcluded;
  }
  if (has_choice) return {};
  return fail(ErrorCode::kInternal, "check the checkpoint; its weights may be damaged",
              "no token at position {} has a finite logit", position);
}

/// Log-softmax of the logits as the model gave them.
class RawLogprobs {
 public:
  RawLogprobs(std::span<const float> logits, std::int32_t num_alternatives) {
    const float max = logits[static_cast<std::size_t>(argmax(logits))];
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - max);
    log_sum_ = max + std::log(sum);
    raw_.assign(logits.begin(), logits.end());
    if (num_alternatives == 0) return;
    std::vector<std::int32_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    const auto count = std::min<std::ptrdiff_t>(num_alternatives, std::ssize(ids));
    std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), ByLogit{logits});
    for (const std::int32_t id : std::span(ids).first(static_cast<std::size_t>(count))) {
      alternatives_.push_back({id, of(id)});
    }
  }

  float of(std::int32_t id) const {
    return static_cast<float>(raw_[static_cast<std::size_t>(id)] - log_sum_);
  }
  std::vector<TokenLogprob> alternatives() const { return alternatives_; }

 private:
  std::vector<float> raw_;
  double log_sum_ = 0;
  std::vector<TokenLogprob> alternatives_;
};

void apply_penalties(std::span<float> logits, const SamplingParams& params,
                     std::span<const std::int32_t> prompt_tokens,
                     std::span<const std::int32_t> generated_tokens) {
  if (params.repetition_penalty != 1) {
    std::set<std::int32_t> seen(prompt_tokens.begin(), prompt_tokens.end());
    seen.insert(generated_tokens.begin(), generated_tokens.end());
    for (const std::int32_t id : seen) {
      float& logit = logits[static_cast<std::size_t>(id)];
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    }
  }
  if (params.presence_penalty != 0 || params.frequency_penalty != 0) {
    std::map<std::int32_t, int> counts;
    for (const std::int32_t id : generated_tokens) ++counts[id];
    for (const auto& [id, count] : counts) {
      logits[static_cast<std::size_t>(id)] -=
          params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
    }
  }
}

/// The tokens that may be drawn and their weights exp(logit / temperature - max), which need no
/// normalisation.
struct Candidates {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;

  void truncate(std::size_t count) {
    ids.resize(count);
    weights.resize(count);
  }
};

Candidates all_candidates(std::span<const float> logits, const SamplingParams& params) {
  const float max = logits[static_cast<std::size_t>(argmax(logits))];
  Candidates candidates;
  candidates.ids.reserve(logits.size());
  candidates.weights.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // The likeliest token has weight 1, so min_p compares directly.
    const float weight = std::exp((logits[i] - max) / params.temperature);
    if (weight <= 0 || weight < params.min_p) continue;
    candidates.ids.push_back(static_cast<std::int32_t>(i));
    candidates.weights.push_back(weight);
  }
  return candidates;
}

/// Sorts the first `count` candidates to the front, likeliest first.
void sort_front(Candidates& candidates, std::size_t count, std::span<const float> logits) {
  std::partial_sort(candidates.ids.begin(),
                    candidates.ids.begin() + static_cast<std::ptrdiff_t>(count),
                    candidates.ids.end(), ByLogit{logits});
}

/// Keeps the `top_k` likeliest, then the smallest front of them whose probability reaches top_p.
void apply_top_k_top_p(Candidates& candidates, std::span<const float> logits,
                       const SamplingParams& params) {
  const std::size_t available = candidates.ids.size();
  const std::size_t k =
      params.top_k > 0 ? std::min<std::size_t>(static_cast<std::size_t>(params.top_k), available)
                       : available;
  if (k == available && params.top_p >= 1) return;

  // Weights by id: sorting moves ids only.
  std::vector<float> weight_of(logits.size());
  for (std::size_t i = 0; i < available; ++i) {
    weight_of[static_cast<std::size_t>(candidates.ids[i])] = candidates.weights[i];
  }
  double total = 0;
  if (k == available) {
    for (const float weight : candidates.weights) total += weight;
  } else {
    sort_front(candidates, k, logits);
    for (std::size_t i = 0; i < k; ++i)
      total += weight_of[static_cast<std::size_t>(candidates.ids[i])];
  }
  // top_p seldom needs more than a few of the likeliest: sort in growing fronts.
  std::size_t sorted = k == available ? std::min<std::size_t>(256, k) : k;
  std::size_t kept = 0;
  double sum = 0;
  while (kept < k && (params.top_p >= 1 || sum < params.top_p * total)) {
    if (kept == 0 && k == available) sort_front(candidates, sorted, logits);
    if (kept == sorted) {
      sorted = std::min(sorted * 8, k);
      sort_front(candidates, sorted, logits);
    }
    sum += weight_of[static_cast<std::size_t>(candidates.ids[kept++])];
  }
  candidates.truncate(kept);
  for (std::size_t i = 0; i < kept; ++i) {
    candidates.weights[i] = weight_of[static_cast<std::size_t>(candidates.ids[i])];
  }
}

/// A race of exponential clocks: token i rings after E_i / weight_i, and the first to ring is drawn
/// with probability proportional to its weight. Removing tokens or splitting the work never changes
/// the noise of the others.
std::int32_t race(const Candidates& candidates, PositionNoise noise) {
  std::int32_t winner = candidates.ids[0];
  double best_rate = -1;
  for (std::size_t i = 0; i < candidates.ids.size(); ++i) {
    const std::int32_t id = candidates.ids[i];
    const double weight = candidates.weights[i];
    const double uniform = noise.uniform(id);
    // -log(u) >= 1 - u: most tokens are out of the race without a logarithm.
    if (weight < (1 - uniform) * best_rate) continue;
    const double rate = weight / -std::log(uniform);
    if (rate > best_rate || (rate == best_rate && id < winner)) {
      best_rate = rate;
      winner = id;
    }
  }
  return winner;
}

std::int32_t choose(std::span<const float> logits, const SamplingParams& params,
                    std::int64_t position) {
  if (params.temperature < kGreedyTemperature) return argmax(logits);
  Candidates candidates = all_candidates(logits, params);
  apply_top_k_top_p(candidates, logits, params);
  return race(candidates, PositionNoise(params.seed, position));
}

}  // namespace

Result<SampledToken> sample(std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> prompt_tokens,
                            std::span<const std::int32_t> generated_tokens, std::int64_t position) {
  DSL_TRY(check_logits(logits, position));
  std::optional<RawLogprobs> raw;
  if (params.num_logprobs >= 0) raw.emplace(logits, params.num_logprobs);
  for (const auto& [id, bias] : params.logit_bias) logits[static_cast<std::size_t>(id)] += bias;
  apply_penalties(logits, params, prompt_tokens, generated_tokens);

  SampledToken sampled;
  sampled.token_id = choose(logits, params, position);
  if (raw) {
    sampled.logprob = raw->of(sampled.token_id);
    sampled.top_logprobs = raw->alternatives();
  }
  return sampled;
}

}  // namespace dsl::sampling
