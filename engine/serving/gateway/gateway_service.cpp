#include "engine/serving/gateway/gateway_service.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/gateway/answer_run_async.h"
#include "engine/serving/gateway/status_page.h"
#include "engine/serving/text_service/openai_error.h"

namespace dsl::serving {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxRequestIdBytes = 128;
/// Tokenised in the loop's thread, which others wait for.
constexpr std::size_t kMaxTokenizeBytes = 1 << 20;
constexpr std::string_view kModels = "/v1/models";
constexpr const char* kRequestIdHeader = "X-Request-Id";
/// The key that dslaunch up makes for whoever has brought the deployment up.
constexpr std::string_view kOwnersKey = "default";

enum class Access { kOpen, kKey, kKeyOrSecret };

std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

HttpResponse json_response(const ordered_json& value) {
  return {200, "application/json", dump(value), nullptr};
}

/// The client's id when it is harmless, else a new one.
std::string request_id_of(const HttpHead& head) {
  const std::string& given = head.request_id;
  const bool is_usable = !given.empty() && given.size() <= kMaxRequestIdBytes &&
                         std::all_of(given.begin(), given.end(), [](char c) {
                           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                  (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
                                  c == ':';
                         });
  if (is_usable) return given;
  const Result<std::string> nonce = make_nonce();
  return nonce ? *nonce : "request";
}

HttpResponse revoked() {
  return openai_error({ErrorCode::kAuthentication, "the API key is wrong or revoked",
                       "send Authorization: Bearer with a key of this deployment"});
}

HttpResponse with_status(int status, HttpResponse response) {
  response.status = status;
  return response;
}

/// Refused requests have an id too: it is what a client can report.
HttpResponse with_request_id(const HttpHead& head, HttpResponse response) {
  const bool has_one =
      std::any_of(response.headers.begin(), response.headers.end(),
                  [](const auto& header) { return header.first == kRequestIdHeader; });
  if (!has_one) response.headers.emplace_back(kRequestIdHeader, request_id_of(head));
  return response;
}

}  // namespace

struct GatewayService::Route {
  std::string_view target;
  std::string_view method;
  Access access;
};

const GatewayService::Route* GatewayService::find_route(const HttpHead& head) {
  static constexpr Route kRoutes[] = {
      {"/v1/chat/completions", "POST", Access::kKey},
      {"/v1/completions", "POST", Access::kKey},
      {"/tokenize", "POST", Access::kKey},
      {"/detokenize", "POST", Access::kKey},
      {kModels, "GET", Access::kKey},
      {"/metrics", "GET", Access::kKeyOrSecret},
      {kStatusData, "GET", Access::kKeyOrSecret},
      {kStatusPage, "GET", Access::kOpen},
      {kStatusStyle, "GET", Access::kOpen},
      {kStatusScript, "GET", Access::kOpen},
      {"/health", "GET", Access::kOpen},
      {"/ready", "GET", Access::kOpen},
      {kIdentityTarget, "GET", Access::kOpen},
  };
  const std::string_view target =
      head.target.starts_with(std::string(kModels) + "/") ? kModels : std::string_view(head.target);
  const auto* found = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                   [&](const Route& route) { return route.target == target; });
  return found == std::end(kRoutes) ? nullptr : found;
}

GatewayService::GatewayService(std::shared_ptr<GatewayCore> core, std::string secret,
                               std::size_t max_body_bytes)
    : core_(std::move(core)), secret_(std::move(secret)), max_body_bytes_(max_body_bytes) {}

void GatewayService::set_keys(const std::vector<ApiKey>& keys) {
  admission_.set_keys(keys, AdmissionClock::now());
}

std::size_t GatewayService::num_running() const { return core_->num_running; }

HttpResponse GatewayService::describe(const Error& error) { return openai_error(error); }

std::optional<std::size_t> GatewayService::body_limit(const HttpHead& head) {
  if (head.target == "/tokenize" || head.target == "/detokenize")
    return std::min(max_body_bytes_, kMaxTokenizeBytes);
  return max_body_bytes_;
}

HttpResponse GatewayService::refusal(const HttpHead& head, const Route* route,
                                     HttpResponse response) {
  core_->metrics.count_answer(route == nullptr ? "other" : route->target, response.status);
  return with_request_id(head, std::move(response));
}

std::optional<HttpResponse> GatewayService::refuse(const HttpHead& head) {
  const Route* route = find_route(head);
  if (route == nullptr) {
    return refusal(
        head, route,
        openai_error({ErrorCode::kNotFound, fmt::format("there is no {:.100}", head.target),
                      "use the paths of OpenAI's API under /v1"}));
  }
  const bool is_get = route->method == "GET";
  if (head.method != route->method && !(is_get && head.method == "HEAD")) {
    HttpResponse response = openai_error(
        {ErrorCode::kRequestInvalid,
         fmt::format("{} takes {}, not {:.20}", route->target, route->method, head.method),
         "use the right method"});
    response.headers.emplace_back("Allow", is_get ? "GET, HEAD" : route->method);
    return refusal(head, route, with_status(405, std::move(response)));
  }
  const bool is_known = route->access == Access::kOpen || admission_.find(bearer_token(head)) ||
                        (route->access == Access::kKeyOrSecret && carries_secret(head, secret_));
  if (is_known) return std::nullopt;
  return refusal(head, route,
                 openai_error({ErrorCode::kAuthentication,
                               head.authorization.empty() ? "the request carries no API key"
                                                          : "the API key is wrong or revoked",
                               "send Authorization: Bearer with a key of this deployment"}));
}

HttpResponse GatewayService::handle(const HttpRequest& request) {
  const Route* route = find_route(request.head);
  HttpResponse response = answer(*route, request);
  // Streams count when they end.
  if (!response.stream) core_->metrics.count_answer(route->target, response.status);
  return with_request_id(request.head, std::move(response));
}

HttpResponse GatewayService::answer(const Route& route, const HttpRequest& request) {
  const std::string_view target = route.target;
  if (target == "/health") return json_response({{"status", "ok"}});
  if (target == "/ready") return ready();
  if (target == "/metrics") return metrics(request.head);
  if (target == kStatusData) return status(request.head.query);
  if (auto file = status_page_file(target)) return *std::move(file);
  if (target == kIdentityTarget) return identity_response(request.head, secret_);
  if (target == kModels) return models(request.head.target);
  if (target.starts_with("/v1/")) return complete(route, request);
  const auto text = target == "/tokenize" ? core_->preprocessor.tokenize(request.body)
                                          : core_->preprocessor.detokenize(request.body);
  if (!text) return openai_error(text.error());
  return {200, "application/json", *text + "\n", nullptr};
}

HttpResponse GatewayService::complete(const Route& route, const HttpRequest& request) {
  const std::string request_id = request_id_of(request.head);
  const auto refused = [&](const Error& error, std::int64_t retry_after_s) {
    HttpResponse response = openai_error(error);
    response.headers = {{kRequestIdHeader, request_id},
                        {"Retry-After", std::to_string(retry_after_s)}};
    return response;
  };
  if (is_draining_) {
    return refused({ErrorCode::kCancelled, "this gateway is ending", "send the request again"}, 1);
  }
  // Known at the head, but the body may have taken its time.
  const std::shared_ptr<KeyState> key = admission_.find(bearer_token(request.head));
  if (!key) return revoked();
  const auto admitted = admission_.admit(*key, AdmissionClock::now());
  if (!admitted) return refused(admitted.error().error, admitted.error().retry_after_s);
  AnswerOrder order;
  order.kind = route.target == "/v1/chat/completions" ? AnswerKind::kChat : AnswerKind::kCompletion;
  order.route = route.target;
  order.body = request.body;
  order.request_id = request_id;
  order.client_address = request.head.client_address;
  order.key = key;
  return {200,
          "text/event-stream",
          "",
          AnswerRun::start(core_, std::move(order)),
          {{"Cache-Control", "no-cache"}, {kRequestIdHeader, request_id}}};
}

HttpResponse GatewayService::models(std::string_view target) const {
  static const std::int64_t created_unix_s = std::time(nullptr);
  const ordered_json model{{"id", core_->model->name()},
                           {"object", "model"},
                           {"created", created_unix_s},
                           {"owned_by", "dslaunch"},
                           {"max_model_len", core_->model->max_context_tokens()}};
  if (target == kModels) return json_response({{"object", "list"}, {"data", {model}}});
  const std::string_view name = target.substr(kModels.size() + 1);
  if (name == core_->model->name()) return json_response(model);
  Error error{ErrorCode::kNotFound, fmt::format("the model {:.100} does not exist", name),
              fmt::format("use {}", core_->model->name())};
  error.field = "model";
  return openai_error(error);
}

HttpResponse GatewayService::ready() const {
  const Router& router = core_->pool->router();
  const bool is_ready = !is_draining_ && router.num_in_rotation() > 0;
  const char* state = is_draining_ ? "draining" : is_ready ? "ready" : "waiting for an engine";
  return with_status(is_ready ? 200 : 503, json_response({{"status", state},
                                                          {"engines", router.num_engines()},
                                                          {"ready", router.num_in_rotation()}}));
}

HttpResponse GatewayService::status(std::string_view query) const {
  constexpr std::string_view kSince = "since=";
  std::uint64_t since = 0;
  if (query.starts_with(kSince)) {
    query.remove_prefix(kSince.size());
    std::from_chars(query.data(), query.data() + query.size(), since);
  }
  return status_data(core_->status.to_json(core_->pool->router(), is_draining_, since));
}

HttpResponse GatewayService::metrics(const HttpHead& head) {
  std::vector<std::shared_ptr<KeyState>> keys;
  const std::shared_ptr<KeyState> own = admission_.find(bearer_token(head));
  const bool is_owners = carries_secret(head, secret_) || (own && own->key.name == kOwnersKey);
  if (is_owners) {
    for (const auto& [name, key] : admission_.keys()) keys.push_back(key);
  } else if (own) {
    keys.push_back(own);
  } else {
    return revoked();
  }
  const Router& router = core_->pool->router();
  GatewayGauges gauges;
  gauges.num_engines = router.num_engines();
  gauges.num_engines_in_rotation = router.num_in_rotation();
  gauges.routing_policy = routing_policy_name(router.policy());
  return {200, "text/plain; version=0.0.4; charset=utf-8", core_->metrics.text(keys, gauges),
          nullptr};
}

}  // namespace dsl::serving
