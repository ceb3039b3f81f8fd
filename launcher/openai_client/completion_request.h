// Requests for chat and text completions, and the chunks that stream back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// Unset fields are left to the gateway's defaults.
struct CompletionOptions {
  std::string model;
  std::optional<std::int64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<std::int64_t> seed;
  std::vector<std::string> stop;
  std::optional<bool> thinking;  // chat only, for models that can do both
  bool ignore_eos = false;       // for benchmarks
};

/// Streaming bodies with usage. kInvalidUtf8.
Result<std::string> chat_body(const std::vector<ChatMessage>& messages,
                              const CompletionOptions& options);
Result<std::string> completion_body(const std::string& prompt, const CompletionOptions& options);

/// What one event brings.
struct CompletionChunk {
  std::string text;       // content of the answer
  std::string reasoning;  // thinking before it
  std::string finish_reason;
  std::optional<std::int64_t> prompt_tokens;
  std::optional<std::int64_t> completion_tokens;
  bool is_done = false;  // "[DONE]"
};

/// The data of an event, of either kind of completion. An error object is that error.
Result<CompletionChunk> parse_chunk(std::string_view data);

}  // namespace dsl::launcher
