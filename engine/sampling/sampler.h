// From logits to a token: penalties, filters and counter-based noise.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "transport/base/error.h"

namespace dsl::sampling {

/// As in the OpenAI and vLLM interfaces. temperature 0 is greedy.
struct SamplingParams {
  float temperature = 0;
  std::int32_t top_k = 0;  // 0: off
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;  // over prompt and generated tokens
  float presence_penalty = 0;    // over generated tokens
  float frequency_penalty = 0;   // over generated tokens
  std::vector<std::pair<std::int32_t, float>> logit_bias;
  std::uint64_t seed = 0;
  std::int32_t num_logprobs =
      0;  // alternatives to report beside the sampled token; -1: none at all
};

/// Out-of-range fields are kRequestInvalid and name the field, its range and the value.
Status validate(const SamplingParams& params, std::int64_t vocab_size);

struct TokenLogprob {
  std::int32_t token_id = 0;
  float logprob = 0;
};

struct SampledToken {
  std::int32_t token_id = 0;
  float logprob = 0;  // of the raw logits (log-softmax before penalties and temperature)
  std::vector<TokenLogprob> top_logprobs;
};

/// Samples the token at `position` (index of the new token in its sequence): logit bias, penalties,
/// temperature, min_p, top_k, top_p, noise, in this order. The noise is a function of (seed,
/// position, token id) alone, so the same request gives the same text in any batch, split or
/// continuation. `logits` [vocab_size] is modified; params are valid; token ids lie in the
/// vocabulary. Ties take the lower token id. -inf excludes a token; NaN, +inf or nothing left to
/// choose is kInternal: the step computed nonsense. Pure; thread-safe.
Result<SampledToken> sample(std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> prompt_tokens,
                            std::span<const std::int32_t> generated_tokens, std::int64_t position);

}  // namespace dsl::sampling
