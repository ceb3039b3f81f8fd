// A gateway's OpenAI interface, one request at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/openai_client/completion_request.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "launcher/process/cancellation.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct CompletionResult {
  std::string text;
  std::string reasoning;
  std::string finish_reason;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
};

/// Thread-compatible. A value: each call is a connection of its own.
class OpenAiClient {
 public:
  explicit OpenAiClient(OpenAiEndpoint endpoint) : endpoint_(std::move(endpoint)) {}

  /// The first model that the gateway serves.
  Result<std::string> model(Cancellation& cancellation) const;

  using ChunkSink = std::function<void(const CompletionChunk&)>;
  /// `on_chunk` gets the answer as it comes.
  Result<CompletionResult> chat(const std::vector<ChatMessage>& messages,
                                const CompletionOptions& options, Cancellation& cancellation,
                                const ChunkSink& on_chunk) const;
  Result<CompletionResult> complete(const std::string& prompt, const CompletionOptions& options,
                                    Cancellation& cancellation, const ChunkSink& on_chunk) const;

 private:
  Result<CompletionResult> stream(const std::string& path, std::string body,
                                  Cancellation& cancellation, const ChunkSink& on_chunk) const;

  OpenAiEndpoint endpoint_;
};

}  // namespace dsl::launcher
