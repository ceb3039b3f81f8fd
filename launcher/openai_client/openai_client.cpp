#include "launcher/openai_client/openai_client.h"

#include <nlohmann/json.hpp>

#include "launcher/http_client/http_exchange.h"
#include "launcher/openai_client/sse_parser.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxAnswerBytes = 1 << 20;
constexpr std::chrono::seconds kAnswerTime{10};

}  // namespace

Result<std::string> OpenAiClient::model(Cancellation& cancellation) const {
  DSL_ASSIGN(const HttpAnswer answer,
             fetch(endpoint_.request("GET", "/v1/models", ""), Deadline::after(kAnswerTime),
                   cancellation, kMaxAnswerBytes));
  if (answer.status != 200) {
    return tl::unexpected<Error>(parse_openai_error(answer.status, answer.body));
  }
  DSL_ASSIGN(const json models, parse_json(answer.body, "gateway", ErrorCode::kProtocol));
  const json* data = models.is_object() && models.contains("data") ? &models["data"] : nullptr;
  if (data == nullptr || !data->is_array() || data->empty() || !data->front().is_object() ||
      !data->front().contains("id") || !data->front()["id"].is_string()) {
    return fail(ErrorCode::kProtocol, "use one version of dslaunch and dsgateway",
                "the gateway's list of models has none");
  }
  return data->front()["id"].get<std::string>();
}

Result<CompletionResult> OpenAiClient::chat(const std::vector<ChatMessage>& messages,
                                            const CompletionOptions& options,
                                            Cancellation& cancellation,
                                            const ChunkSink& on_chunk) const {
  DSL_ASSIGN(std::string body, chat_body(messages, options));
  return stream("/v1/chat/completions", std::move(body), cancellation, on_chunk);
}

Result<CompletionResult> OpenAiClient::complete(const std::string& prompt,
                                                const CompletionOptions& options,
                                                Cancellation& cancellation,
                                                const ChunkSink& on_chunk) const {
  DSL_ASSIGN(std::string body, completion_body(prompt, options));
  return stream("/v1/completions", std::move(body), cancellation, on_chunk);
}

Result<CompletionResult> OpenAiClient::stream(const std::string& path, std::string body,
                                              Cancellation& cancellation,
                                              const ChunkSink& on_chunk) const {
  CompletionResult result;
  SseParser events;
  Status taken;
  bool is_done = false;
  const auto take_event = [&](std::string_view data) {
    if (!taken || is_done) return;
    Result<CompletionChunk> chunk = parse_chunk(data);
    if (!chunk) {
      taken = tl::unexpected<Error>(std::move(chunk).error());
      return;
    }
    is_done = chunk->is_done;
    result.text += chunk->text;
    result.reasoning += chunk->reasoning;
    if (!chunk->finish_reason.empty()) result.finish_reason = chunk->finish_reason;
    result.prompt_tokens = chunk->prompt_tokens.value_or(result.prompt_tokens);
    result.completion_tokens = chunk->completion_tokens.value_or(result.completion_tokens);
    if (on_chunk) on_chunk(*chunk);
  };
  const auto on_body = [&](std::string_view bytes) {
    events.feed(bytes, take_event);
    return taken;
  };
  DSL_ASSIGN(const HttpResponse response, exchange(endpoint_.request("POST", path, std::move(body)),
                                                   Deadline::never(), cancellation, on_body));
  if (response.status != 200) {
    return tl::unexpected<Error>(parse_openai_error(response.status, response.body));
  }
  if (is_done) return result;
  return fail(ErrorCode::kUnreachable, "see the gateway's log: dslaunch logs",
              "the gateway ended its answer in the middle, after {} characters",
              result.text.size());
}

}  // namespace dsl::launcher
