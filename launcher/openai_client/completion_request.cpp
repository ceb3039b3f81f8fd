#include "launcher/openai_client/completion_request.h"

#include <nlohmann/json.hpp>

#include "launcher/openai_client/json_text.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

template <typename T>
void put(ordered_json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

void put_options(ordered_json& body, const CompletionOptions& options) {
  body["model"] = options.model;
  put(body, "temperature", options.temperature);
  put(body, "top_p", options.top_p);
  put(body, "seed", options.seed);
  if (!options.stop.empty()) body["stop"] = options.stop;
  if (options.ignore_eos) body["ignore_eos"] = true;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
}

Result<std::string> dump(const ordered_json& body) {
  try {
    return body.dump();
  } catch (const json::exception&) {
    return fail(ErrorCode::kInvalidUtf8, "convert the text to UTF-8",
                "a text of the request is not valid UTF-8");
  }
}

}  // namespace

Result<std::string> chat_body(const std::vector<ChatMessage>& messages,
                              const CompletionOptions& options) {
  ordered_json body;
  put_options(body, options);
  put(body, "max_completion_tokens", options.max_tokens);
  if (options.thinking) body["chat_template_kwargs"] = {{"thinking", *options.thinking}};
  ordered_json list = ordered_json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  body["messages"] = std::move(list);
  return dump(body);
}

Result<std::string> completion_body(const std::string& prompt, const CompletionOptions& options) {
  ordered_json body;
  put_options(body, options);
  put(body, "max_tokens", options.max_tokens);
  body["prompt"] = prompt;
  return dump(body);
}

Result<CompletionChunk> parse_chunk(std::string_view data) {
  CompletionChunk chunk;
  if (data == "[DONE]") {
    chunk.is_done = true;
    return chunk;
  }
  DSL_ASSIGN(const json object, parse_json(data, "gateway", ErrorCode::kProtocol));
  if (!object.is_object()) {
    return fail(ErrorCode::kProtocol, "use one version of dslaunch and dsgateway",
                "the gateway sent an event that is no object");
  }
  if (object.contains("error")) {
    return tl::unexpected<Error>(parse_openai_error(500, data));
  }
  try {
    if (const auto choices = object.find("choices"); choices != object.end()) {
      for (const json& choice : *choices) {
        chunk.text += text_of(choice, "text");
        chunk.finish_reason += text_of(choice, "finish_reason");
        const auto delta = choice.find("delta");
        if (delta == choice.end()) continue;
        chunk.text += text_of(*delta, "content");
        chunk.reasoning += text_of(*delta, "reasoning_content");
      }
    }
    if (const auto usage = object.find("usage"); usage != object.end() && usage->is_object()) {
      chunk.prompt_tokens = usage->at("prompt_tokens").get<std::int64_t>();
      chunk.completion_tokens = usage->at("completion_tokens").get<std::int64_t>();
    }
  } catch (const json::exception& problem) {
    return fail(ErrorCode::kProtocol, "use one version of dslaunch and dsgateway",
                "the gateway sent a malformed event: {}", problem.what());
  }
  return chunk;
}

}  // namespace dsl::launcher
