// Tokens chosen where the logits lie, so that these need not cross to the host.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor/views.h"
#include "transport/base/error.h"

namespace dsl {

/// How the token at `position` of a sequence is chosen from a row of logits: temperature (0 is the
/// largest logit), min_p, top_k (0 is off), top_p and noise, in this order and with the meaning of
/// engine/sampling/sampler.h.
struct TokenChoice {
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  std::int32_t top_k = 0;
  std::int32_t num_logprobs = -1;  // alternatives beside the token's own logprob; -1: none at all
  std::uint64_t seed = 0;
  std::int64_t position = 0;
};

struct TokenWithLogprob {
  std::int32_t token_id = 0;
  float logprob = 0;
};

struct ChosenToken {
  TokenWithLogprob token;  // logprob 0 where none was asked for
  std::vector<TokenWithLogprob> top_logprobs;
};

/// Thread-compatible.
class TokenChooser {
 public:
  virtual ~TokenChooser() = default;
  /// One token for each row of logits, which lie in the device's memory. NaN, +inf or a row without
  /// a finite logit is kInternal: the step computed nonsense.
  virtual Result<std::vector<ChosenToken>> choose(MatrixView<const float> logits,
                                                  std::span<const TokenChoice> choices) = 0;
  /// Takes at once what calls with up to `max_rows` rows need, and what it holds.
  virtual Status reserve(std::int64_t max_rows) = 0;
  virtual std::int64_t held_bytes() const = 0;
};

}  // namespace dsl
