#include "engine/serving/text_service/text_service.h"

#include <chrono>
#include <utility>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/text_service/openai_error.h"
#include "engine/serving/text_service/text_json.h"

namespace dsl::serving {
namespace {

constexpr std::string_view kPreprocess = "/v1/preprocess";
constexpr std::string_view kPostprocess = "/v1/postprocess";
constexpr std::string_view kHealth = "/health";
constexpr std::string_view kMetrics = "/metrics";

std::string_view work_target(TextRole role) {
  return role == TextRole::kPreprocess ? kPreprocess : kPostprocess;
}

}  // namespace

TextService::TextService(TextRole role, const std::shared_ptr<const ServedModel>& model,
                         StreamCache::Limits limits, std::string secret)
    : role_(role),
      secret_(std::move(secret)),
      preprocessor_(model),
      postprocessor_(model, limits),
      metrics_(role == TextRole::kPreprocess ? "preprocess" : "postprocess") {
  DSL_CHECK(!secret_.empty(), "a text service needs a secret");
}

std::optional<HttpResponse> TextService::refuse(const HttpHead& head) {
  const bool is_open = head.target == kHealth || head.target == kIdentityTarget;
  if (!is_open && !carries_secret(head, secret_)) {
    return error_response({ErrorCode::kAuthentication,
                           "the request does not carry this deployment's secret",
                           "send Authorization: Bearer with the deployment's secret"});
  }
  const bool is_work = head.target == work_target(role_);
  if (!is_open && !is_work && head.target != kMetrics) {
    return error_response({ErrorCode::kNotFound, fmt::format("there is no {:.100}", head.target),
                           fmt::format("use {}, /health or /metrics", work_target(role_))});
  }
  const std::string_view method = is_work ? "POST" : "GET";
  if (head.method == method || (!is_work && head.method == "HEAD")) return std::nullopt;
  HttpResponse response =
      error_response({ErrorCode::kRequestInvalid,
                      fmt::format("{} takes {}, not {:.20}", head.target, method, head.method),
                      "use the right method"});
  response.status = 405;
  return response;
}

HttpResponse TextService::handle(const HttpRequest& request) {
  if (request.head.target == kHealth)
    return {200, "application/json", "{\"status\":\"ok\"}\n", nullptr};
  if (request.head.target == kIdentityTarget) return identity_response(request.head, secret_);
  if (request.head.target == kMetrics) return metrics();
  const auto start = std::chrono::steady_clock::now();
  HttpResponse response = answer(request);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  metrics_.count_request(response.status, elapsed.count());
  return response;
}

HttpResponse TextService::answer(const HttpRequest& request) {
  auto body =
      role_ == TextRole::kPreprocess ? preprocess(request) : postprocessor_.process(request.body);
  if (body) return {200, "application/json", *std::move(body), nullptr};
  return openai_error(body.error());
}

/// The body is the client's own, so that what is said of it is true of what the client sent.
Result<std::string> TextService::preprocess(const HttpRequest& request) {
  if (request.head.query == "kind=tokenize") return preprocessor_.tokenize(request.body);
  if (request.head.query == "kind=detokenize") return preprocessor_.detokenize(request.body);
  const bool is_chat = request.head.query == "kind=chat";
  if (!is_chat && request.head.query != "kind=completion") {
    return fail(ErrorCode::kRequestInvalid,
                "use kind=chat, completion, tokenize or detokenize in the query",
                "expected a kind of request, found {:.100}", request.head.query);
  }
  DSL_ASSIGN(const PreparedRequest prepared, is_chat
                                                 ? preprocessor_.prepare_chat(request.body)
                                                 : preprocessor_.prepare_completion(request.body));
  metrics_.count_prompt_tokens(prepared.num_prompt_tokens);
  return to_json(prepared);
}

HttpResponse TextService::metrics() {
  metrics_.observe(postprocessor_);
  return {200, "text/plain; version=0.0.4", metrics_.text(), nullptr};
}

}  // namespace dsl::serving
