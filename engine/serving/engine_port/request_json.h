// The request bodies of the engine port, read strictly.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "engine/text/chat_template.h"
#include "transport/base/error.h"

namespace dsl::serving {

struct ChatPrompt {
  std::vector<text::ChatMessage> messages;
  text::RenderOptions options;
};

/// A prompt in one of three forms: token ids, plain text, a conversation.
using PromptInput = std::variant<std::vector<std::int32_t>, std::string, ChatPrompt>;

/// The body of POST /v1/generate. `request` lacks the prompt's token ids only.
struct GenerateCall {
  PromptInput prompt;
  GenerateRequest request;
  std::vector<std::string> stop;
  bool wants_logprobs = false;
  bool wants_text = true;
  std::string request_id;  // for logs
  std::string stream_id;   // by which POST /v1/stop finds the answer
};

/// kRequestInvalid names the field, what was expected and what was found; unknown fields are
/// errors. A request without seed gets `fresh_seed`.
Result<GenerateCall> parse_generate(std::string_view body, std::uint64_t fresh_seed);
/// The body of POST /v1/stop: which answer to end.
Result<std::string> parse_stop(std::string_view body);
/// The body of POST /v1/score.
Result<std::vector<std::int32_t>> parse_score(std::string_view body);

}  // namespace dsl::serving
