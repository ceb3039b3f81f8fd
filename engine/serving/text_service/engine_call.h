// What the gateway asks an engine for: the tokens and parameters of one choice.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"

namespace dsl::serving {

using SharedTokens = std::shared_ptr<const std::vector<std::int32_t>>;

/// One generation. Choices of one request share their prompt.
struct EngineCall {
  SharedTokens prompt_token_ids;      // never null
  sampling::SamplingParams sampling;  // num_logprobs -1: no log probabilities
  std::vector<std::int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::int64_t max_tokens = 0;  // 0: as many as the context has room for
};

/// What the sender of a call adds to it.
struct EngineCallExtras {
  std::span<const std::int32_t> emitted_token_ids;  // of this answer, already with the client
  std::string_view tenant;                          // whose request it is, for fair queueing
  std::int32_t priority = 0;
  std::string_view request_id;
  std::string_view stream_id;  // by which POST /v1/stop finds the answer
};

/// The body of POST /v1/generate (docs/process-contract.md), without text in the answer.
std::string to_engine_json(const EngineCall& call, const EngineCallExtras& extras);

}  // namespace dsl::serving
