// The engine port of a world (docs/process-contract.md): generate, score, info.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launcher/process/cancellation.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// What a user may set of sampling; unset fields are left to the engine's defaults.
struct SamplingOptions {
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<double> presence_penalty;
  std::optional<double> frequency_penalty;
  std::vector<std::string> logit_bias;  // "TOKEN_ID:BIAS"
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> logprobs;
  std::vector<std::string> stop;
  std::vector<std::int32_t> stop_token_ids;
  bool ignore_eos = false;
};

/// Exactly one of prompt, chat and token_ids is set.
struct GenerateOptions {
  std::optional<std::string> prompt;
  std::optional<std::string> chat;  // one user message
  std::optional<std::vector<std::int32_t>> token_ids;
  SamplingOptions sampling;
  std::int64_t max_tokens = 256;
};

struct GenerateResult {
  std::string text;
  std::vector<std::int32_t> token_ids;
  std::string finish_reason;
  std::string logprobs_json;  // list of what the engine sent per token; empty when not asked for
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  double queue_s = 0;
  double prefill_s = 0;
  double decode_s = 0;
  double time_to_first_token_s = 0;
};

struct EngineDescription {
  std::string json;  // as the engine sent it
  std::string model;
  std::string dtype;
  std::string kernels;
  std::int64_t vocab_size = 0;
  std::int64_t active_bytes_per_token = 0;
};

/// Thread-compatible. A value: each call is a connection of its own.
class EngineClient {
 public:
  EngineClient(std::string endpoint, std::string secret)
      : endpoint_(std::move(endpoint)), secret_(std::move(secret)) {}

  const std::string& endpoint() const { return endpoint_; }

  /// `on_text` gets the text as it comes. An error of the engine keeps its code.
  Result<GenerateResult> generate(const GenerateOptions& options, Cancellation& cancellation,
                                  const std::function<void(const std::string&)>& on_text) const;

  /// float32 logits of every position, [token_ids.size(), vocab_size] row-major, in pieces of any
  /// number of values.
  Status score(std::span<const std::int32_t> token_ids, Cancellation& cancellation,
               const std::function<Status(std::span<const float>)>& on_values) const;

  Result<EngineDescription> info(Deadline deadline, Cancellation& cancellation) const;

  /// Tells the engine to take no more requests; returns how many still run.
  Result<std::int64_t> drain(Deadline deadline, Cancellation& cancellation) const;

 private:
  Result<std::string> ask(const std::string& method, const std::string& target, Deadline deadline,
                          Cancellation& cancellation) const;

  std::string endpoint_;
  std::string secret_;
};

}  // namespace dsl::launcher
