#include "engine/serving/engine_port/engine_service.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/process/process_usage.h"
#include "engine/serving/text_service/fresh_seed.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

HttpResponse with_status(int status, const Error& error) {
  HttpResponse response = error_response(error);
  response.status = status;
  return response;
}

/// A queue that takes longer is better waited for elsewhere.
constexpr double kLongestRetryAfterS = 60;

/// Hosts are left out: probes have no secret.
ordered_json health_of(const std::vector<RankReport>& ranks) {
  ordered_json array = ordered_json::array();
  for (const RankReport& report : ranks) {
    ordered_json rank{{"rank", report.rank}, {"state", report.problem ? "unhealthy" : "healthy"}};
    if (report.problem) {
      rank["for_s"] = report.problem->since_s;
      rank["reason"] = report.problem->reason;
    }
    array.push_back(std::move(rank));
  }
  return array;
}

template <typename Stream>
void forget_ended(std::vector<std::weak_ptr<Stream>>& streams) {
  std::erase_if(streams, [](const auto& weak) { return weak.expired(); });
}

}  // namespace

EngineService::EngineService(Engine& engine, const RankBoard& ranks, TextCodec text,
                             ServiceDescription description, std::string secret)
    : engine_(engine),
      ranks_(ranks),
      text_(std::move(text)),
      description_(std::move(description)),
      secret_(std::move(secret)),
      metrics_(description_.served_model_name),
      health_check_(engine),
      scores_(engine) {
  DSL_CHECK(!secret_.empty(), "the engine port needs a secret");
}

void EngineService::fail(const Error& error) {
  std::vector<std::weak_ptr<GenerateStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    if (!failure_) failure_ = error;
    streams = streams_;
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
  forget_ended(streams_);
  streams_.push_back(stream);
  if (failure_) stream->fail(*failure_);
}

void EngineService::remember(const std::shared_ptr<ScoreStream>& stream) {
  const std::scoped_lock lock(mutex_);
  forget_ended(score_streams_);
  score_streams_.push_back(stream);
}

void EngineService::begin_drain() {
  if (!is_draining_.exchange(true)) log(LogLevel::kInfo, "draining: no more requests");
}

std::size_t EngineService::num_answers() {
  const std::scoped_lock lock(mutex_);
  forget_ended(streams_);
  forget_ended(score_streams_);
  return streams_.size() + score_streams_.size();
}

std::optional<HttpResponse> EngineService::refuse(const HttpHead& head) {
  static constexpr std::pair<const char*, const char*> kRoutes[] = {
      {"/v1/generate", "POST"}, {"/v1/stop", "POST"}, {"/v1/score", "POST"},
      {"/v1/drain", "POST"},    {"/v1/info", "GET"},  {"/v1/identity", "GET"},
      {"/metrics", "GET"},      {"/health", "GET"}};
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
                           "docs/process-contract.md lists the paths of the engine port"});
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
  const std::string& target = request.head.target;
  if (target == "/v1/info") return info();
  if (target == "/health") return health();
  if (target == "/metrics") return metrics();
  if (target == "/v1/drain") return drain();
  if (target == kIdentityTarget) return identity_response(request.head, secret_);
  if (target == "/v1/stop") {
    auto stopped = stop(request.body);
    return stopped ? *std::move(stopped) : error_response(stopped.error());
  }
  if (auto refusal = refuse_work()) return *std::move(refusal);
  auto response = target == "/v1/generate" ? generate(request.body) : score(request.body);
  if (response) return *std::move(response);
  if (response.error().code == ErrorCode::kOverloaded) return refuse_overload(response.error());
  return error_response(response.error());
}

std::optional<HttpResponse> EngineService::refuse_work() {
  if (const auto error = failure()) return error_response(*error);
  if (!is_draining_) return std::nullopt;
  HttpResponse response = with_status(503, {ErrorCode::kCancelled, "this replica is being drained",
                                            "send the request to another replica"});
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse EngineService::refuse_overload(const Error& error) const {
  // When those that wait now will have started, at the pace of late.
  const EngineStats stats = engine_.stats();
  const double pace = std::max(stats.admissions_per_s, 1.0 / kLongestRetryAfterS);
  const double seconds = std::ceil(static_cast<double>(stats.num_waiting) / pace);
  HttpResponse response = error_response(error);
  response.headers.emplace_back(
      "Retry-After", fmt::format("{:.0f}", std::clamp(seconds, 1.0, kLongestRetryAfterS)));
  return response;
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
  std::optional<TextStream> text;
  if (call.wants_text || !call.stop.empty()) {
    DSL_ASSIGN(text, text_.open_stream(call.stop));
  }
  DSL_ASSIGN(const std::shared_ptr<GenerateStream> stream,
             GenerateStream::open(engine_, metrics_, std::move(call), std::move(text)));
  remember(stream);
  return HttpResponse{200, "application/x-ndjson", {}, stream};
}

Result<HttpResponse> EngineService::score(const std::string& body) {
  DSL_ASSIGN(std::vector<std::int32_t> token_ids, parse_score(body));
  DSL_ASSIGN(std::shared_ptr<ScoreStream> stream, scores_.submit(std::move(token_ids)));
  remember(stream);
  return HttpResponse{200, "application/octet-stream", {}, std::move(stream)};
}

Result<HttpResponse> EngineService::stop(const std::string& body) {
  DSL_ASSIGN(const std::string stream_id, parse_stop(body));
  std::vector<std::shared_ptr<GenerateStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& weak : streams_) {
      auto stream = weak.lock();
      if (stream && stream->stream_id() == stream_id) streams.push_back(std::move(stream));
    }
  }
  const auto num_stopped = std::count_if(streams.begin(), streams.end(),
                                         [](const auto& stream) { return stream->stop(); });
  const ordered_json answer{{"stopped", num_stopped}};
  return HttpResponse{200, "application/json", answer.dump() + "\n", nullptr};
}

HttpResponse EngineService::info() const {
  const EngineInfo& engine = engine_.info();
  const EngineStats stats = engine_.stats();
  ordered_json body{{"model", description_.model},
                    {"model_type", engine.model_type},
                    {"tp", description_.tp},
                    {"pp", description_.pp},
                    {"dtype", description_.compute_dtype == DType::kF32 ? "f32" : "bf16"},
                    {"fp8_activations", description_.fp8_activations},
                    {"fp8_cache", description_.fp8_cache},
                    {"kernels", engine.kernels},
                    {"bf16_products", engine.bf16_products},
                    {"attention_products", engine.attention_products},
                    {"tensor_parallel_path", engine.tensor_path},
                    {"pipeline_parallel_path", engine.hop_path},
                    {"vocab_size", engine.vocab_size},
                    {"max_position_embeddings", engine.max_position_embeddings},
                    {"kv_tokens", engine.kv_tokens},
                    {"kv_bytes_per_token", engine.kv_bytes_per_token},
                    {"active_bytes_per_token", engine.active_bytes_per_token},
                    {"shard_bytes", engine.shard_bytes},
                    {"resident_bytes", resident_bytes()},
                    {"has_tokenizer", text_.has_tokenizer()},
                    {"has_chat_template", text_.has_chat_template()},
                    {"num_running", stats.num_running},
                    {"num_waiting", stats.num_waiting},
                    {"max_waiting", stats.max_waiting},
                    {"kv_blocks_total", stats.kv_blocks_total},
                    {"kv_blocks_used", stats.kv_blocks_used},
                    {"draining", is_draining_.load()}};
  ordered_json links = ordered_json::array();
  for (const wire::LinkReport& link : description_.links) {
    links.push_back({{"peer", link.peer}, {"transport", link.transport}, {"device", link.device}});
  }
  body["links"] = std::move(links);
  return {200, "application/json",
          body.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n", nullptr};
}

HttpResponse EngineService::health() {
  const std::vector<RankReport> ranks = ranks_.reports();
  std::optional<Error> problem = failure();
  if (!problem) {
    problem = health_check_.problem();
    const std::string of_ranks = problems_of(ranks);
    if (problem && !of_ranks.empty()) problem->message += "; " + of_ranks;
  }
  ordered_json body =
      problem ? ordered_json::parse(error_json(*problem)) : ordered_json{{"status", "ok"}};
  body["ranks"] = health_of(ranks);
  return {problem ? 503 : 200, "application/json",
          body.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n", nullptr};
}

HttpResponse EngineService::metrics() {
  const EngineStats stats = engine_.stats();
  const bool is_healthy = !failure() && !health_check_.problem();
  return {200, "text/plain; version=0.0.4; charset=utf-8",
          metrics_.text({stats, ranks_.reports(), is_healthy}), nullptr};
}

HttpResponse EngineService::drain() {
  begin_drain();
  const EngineStats stats = engine_.stats();
  const ordered_json body{{"draining", true}, {"running", stats.num_running + stats.num_waiting}};
  return {200, "application/json", body.dump() + "\n", nullptr};
}

}  // namespace dsl::serving
