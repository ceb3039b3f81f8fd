#include "engine/serving/engine_port/engine_service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/engine_port/rank_report.h"

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

HttpResponse with_status(int status, const Error& error) {
  HttpResponse response = error_response(error);
  response.status = status;
  return response;
}

std::uint64_t fresh_seed() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace

EngineService::EngineService(Engine& engine, TextCodec text, ServiceDescription description,
                             std::string secret)
    : engine_(engine),
      text_(std::move(text)),
      description_(std::move(description)),
      secret_(std::move(secret)),
      scores_(engine) {
  DSL_CHECK(!secret_.empty(), "the engine port needs a secret");
}

void EngineService::fail(const Error& error) {
  std::vector<std::weak_ptr<GenerateStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = error;
    streams.swap(streams_);
  }
  for (const auto& weak : streams) {
    if (const auto stream = weak.lock()) stream->fail(error);
  }
}

std::optional<Error> EngineService::failure() {
  const std::scoped_lock lock(mutex_);
  return failure_;
}

void EngineService::remember(const std::shared_ptr<GenerateStream>& stream) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
  streams_.push_back(stream);
  if (failure_) stream->fail(*failure_);
}

std::optional<HttpResponse> EngineService::refuse(const HttpHead& head) {
  static constexpr std::pair<const char*, const char*> kRoutes[] = {{"/v1/generate", "POST"},
                                                                    {"/v1/score", "POST"},
                                                                    {"/v1/info", "GET"},
                                                                    {"/v1/identity", "GET"},
                                                                    {"/health", "GET"}};
  const auto* route = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                   [&](const auto& entry) { return head.target == entry.first; });
  // Health says nothing of the model, and probes have no secret.
  const bool is_open = head.target == "/health" || head.target == kIdentityTarget;
  if (!is_open && !carries_secret(head, secret_)) {
    return error_response({ErrorCode::kAuthentication,
                           "the request does not carry this engine's secret",
                           "send Authorization: Bearer with the launch's secret"});
  }
  if (route == std::end(kRoutes)) {
    return error_response({ErrorCode::kNotFound, fmt::format("there is no {:.100}", head.target),
                           "use /v1/generate, /v1/score, /v1/info, /v1/identity or /health"});
  }
  if (head.method != route->second) {
    return with_status(
        405, {ErrorCode::kRequestInvalid,
              fmt::format("{} takes {}, not {:.20}", route->first, route->second, head.method),
              "use the right method"});
  }
  return std::nullopt;
}

HttpResponse EngineService::handle(const HttpRequest& request) {
  if (request.head.target == "/v1/info") return info();
  if (request.head.target == "/health") return health();
  if (request.head.target == kIdentityTarget) return identity_response(request.head, secret_);
  if (const auto error = failure()) return error_response(*error);
  auto response =
      request.head.target == "/v1/generate" ? generate(request.body) : score(request.body);
  return response ? *std::move(response) : error_response(response.error());
}

Result<std::vector<std::int32_t>> EngineService::encode(const PromptInput& prompt) const {
  if (const auto* token_ids = std::get_if<std::vector<std::int32_t>>(&prompt)) return *token_ids;
  if (const auto* text = std::get_if<std::string>(&prompt)) return text_.encode_text(*text);
  const auto& chat = std::get<ChatPrompt>(prompt);
  return text_.encode_chat(chat.messages, chat.options);
}

Result<HttpResponse> EngineService::generate(const std::string& body) {
  DSL_ASSIGN(GenerateCall call, parse_generate(body, fresh_seed()));
  DSL_ASSIGN(call.request.prompt_token_ids, encode(call.prompt));
  DSL_ASSIGN(std::optional<TextStream> text, text_.open_stream(call.stop));
  DSL_ASSIGN(const std::shared_ptr<GenerateStream> stream,
             GenerateStream::open(engine_, std::move(call), std::move(text)));
  remember(stream);
  return HttpResponse{200, "application/x-ndjson", {}, stream};
}

Result<HttpResponse> EngineService::score(const std::string& body) {
  DSL_ASSIGN(std::vector<std::int32_t> token_ids, parse_score(body));
  DSL_ASSIGN(std::shared_ptr<ScoreStream> stream, scores_.submit(std::move(token_ids)));
  return HttpResponse{200, "application/octet-stream", {}, std::move(stream)};
}

HttpResponse EngineService::info() const {
  const EngineInfo& engine = engine_.info();
  ordered_json body{{"model", description_.model},
                    {"model_type", engine.model_type},
                    {"tp", description_.tp},
                    {"pp", description_.pp},
                    {"dtype", description_.compute_dtype == DType::kF32 ? "f32" : "bf16"},
                    {"kernels", engine.kernels},
                    {"vocab_size", engine.vocab_size},
                    {"max_position_embeddings", engine.max_position_embeddings},
                    {"kv_tokens", engine.kv_tokens},
                    {"kv_bytes_per_token", engine.kv_bytes_per_token},
                    {"active_bytes_per_token", engine.active_bytes_per_token},
                    {"shard_bytes", engine.shard_bytes},
                    {"resident_bytes", resident_bytes()},
                    {"has_tokenizer", text_.has_tokenizer()},
                    {"has_chat_template", text_.has_chat_template()}};
  ordered_json links = ordered_json::array();
  for (const wire::LinkReport& link : description_.links) {
    links.push_back({{"peer", link.peer}, {"transport", link.transport}, {"device", link.device}});
  }
  body["links"] = std::move(links);
  return {200, "application/json",
          body.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n", nullptr};
}

HttpResponse EngineService::health() {
  if (const auto error = failure()) return with_status(503, *error);
  return {200, "application/json", "{\"status\":\"ok\"}\n", nullptr};
}

}  // namespace dsl::serving
