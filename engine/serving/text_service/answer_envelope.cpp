#include "engine/serving/text_service/answer_envelope.h"

#include <fmt/format.h>

#include "engine/serving/text_service/json_text.h"

namespace dsl::serving {
namespace {

std::string usage_json(const Usage& usage) {
  return fmt::format(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":{}}},)"
                     R"("completion_tokens_details":{{"reasoning_tokens":{}}}}})",
                     usage.num_prompt_tokens, usage.num_completion_tokens,
                     usage.num_prompt_tokens + usage.num_completion_tokens,
                     usage.num_cached_prompt_tokens, usage.num_reasoning_tokens);
}

}  // namespace

AnswerEnvelope::AnswerEnvelope(AnswerKind kind, std::string_view request_key,
                               std::int64_t created_unix_s, std::string_view model,
                               bool includes_usage) {
  const bool is_chat = kind == AnswerKind::kChat;
  const auto head = [&](std::string_view object) {
    std::string json = "{\"id\":";
    append_json_string(json, fmt::format("{}{}", is_chat ? "chatcmpl-" : "cmpl-", request_key));
    json += fmt::format(R"(,"object":"{}","created":{},"model":)", object, created_unix_s);
    append_json_string(json, model);
    json += ",\"choices\":[";
    return json;
  };
  chunk_head_ = head(is_chat ? "chat.completion.chunk" : "text_completion");
  whole_head_ = head(is_chat ? "chat.completion" : "text_completion");
  chunk_tail_ = includes_usage ? "],\"usage\":null}" : "]}";
}

std::string AnswerEnvelope::usage_chunk(const Usage& usage) const {
  return fmt::format("{}],\"usage\":{}}}", chunk_head_, usage_json(usage));
}

std::string AnswerEnvelope::whole(std::span<const std::string> choices_json,
                                  const Usage& usage) const {
  std::string json = whole_head_;
  for (std::size_t i = 0; i < choices_json.size(); ++i) {
    if (i > 0) json += ',';
    json += choices_json[i];
  }
  json += "],\"usage\":";
  json += usage_json(usage);
  json += '}';
  return json;
}

}  // namespace dsl::serving
