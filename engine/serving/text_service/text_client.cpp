#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serving/http/remedies.h"
#include "engine/serving/text_service/json_text.h"
#include "engine/serving/text_service/text_client_async.h"
#include "engine/serving/text_service/text_json.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

// A conversation of 16 MiB takes seconds.
constexpr std::chrono::seconds kPreprocessTimeout{10};
constexpr std::chrono::seconds kPostprocessTimeout{5};

/// Errors in OpenAI's form are about the user's request, others about ours.
bool is_for_the_user(const ClientAnswer& answer) {
  const json body = json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  return answer.status >= 400 && answer.status < 500 && body.is_object() &&
         body.contains("error") && body["error"].is_object() && body["error"].contains("param");
}

Error unexpected_status(const std::string& endpoint, const ClientAnswer& answer) {
  return {ErrorCode::kProtocol,
          fmt::format("the text service at {} answered {}: {:.200}", endpoint, answer.status,
                      answer.body),
          std::string(kOneVersionRemedy)};
}

void append_item(std::string& body, const PostprocessItem& item, bool sends_all) {
  body += "{\"stream\":";
  append_json_string(body, item.stream_id);
  body += ",\"position\":";
  append_json_integer(body, static_cast<std::int64_t>(item.position));
  body += ',';
  body += token_fields(item.tokens->slice(sends_all ? 0 : item.position, item.num_tokens),
                       item.format->wants_logprobs);
  if (sends_all) {
    body += ",\"format\":";
    body += to_json(*item.format);
  }
  if (item.end)
    body += *item.end == AnswerEnd::kStop ? ",\"finish\":\"stop\"" : ",\"finish\":\"length\"";
  body += '}';
}

/// Updates of a request's items; none where the service needs all tokens.
using Updates = std::vector<std::optional<AnswerUpdate>>;

Result<Updates> read_updates(const std::string& body, std::size_t num_items) {
  DSL_ASSIGN(const json document, parse_json(body, "updates", ErrorCode::kProtocol));
  const json items = document.is_object() ? document.value("items", json()) : json();
  if (!items.is_array() || items.size() != num_items) {
    return fail(ErrorCode::kProtocol, kOneVersionRemedy,
                "updates: expected a list of {}, found {:.200}", num_items, body);
  }
  Updates updates;
  for (const json& item : items) {
    if (item.is_object() && item.contains("need")) {
      updates.emplace_back();
      continue;
    }
    DSL_ASSIGN(AnswerUpdate update, answer_update_of(item));
    updates.emplace_back(std::move(update));
  }
  return updates;
}

std::string body_of(std::span<const PostprocessItem> items, std::span<const std::size_t> chosen,
                    bool sends_all) {
  std::string body = "{\"items\":[";
  for (const std::size_t index : chosen) {
    if (body.back() == '}') body += ',';
    // Nothing came before: the service cannot have it.
    append_item(body, items[index], sends_all || items[index].position == 0);
  }
  return body + "]}";
}

}  // namespace

TextClient::Awaitable<TextClient::TextResult<std::string>> TextClient::preprocess(
    std::string endpoint, std::string_view kind, std::string body) {
  ClientRequest request{"POST", fmt::format("/v1/preprocess?kind={}", kind), std::move(body)};
  Result<ClientAnswer> answer =
      co_await http_.exchange(endpoint, std::move(request), kPreprocessTimeout);
  if (!answer) {
    co_return tl::unexpected<TextFailure>(TextFailure{std::move(answer).error(), std::nullopt});
  }
  if (answer->status == 200) co_return std::move(answer->body);
  TextFailure failure{unexpected_status(endpoint, *answer), std::nullopt};
  if (is_for_the_user(*answer)) {
    HttpResponse refusal;
    refusal.status = answer->status;
    refusal.body = std::move(answer->body);
    failure.refusal = std::move(refusal);
  }
  co_return tl::unexpected<TextFailure>(std::move(failure));
}

TextClient::Awaitable<TextClient::TextResult<PreparedRequest>> TextClient::prepare(
    std::string endpoint, AnswerKind kind, std::string body) {
  TextResult<std::string> prepared = co_await preprocess(
      std::move(endpoint), kind == AnswerKind::kChat ? "chat" : "completion", std::move(body));
  if (!prepared) co_return tl::unexpected<TextFailure>(std::move(prepared).error());
  Result<PreparedRequest> request = parse_prepared_request(*prepared);
  if (!request) {
    co_return tl::unexpected<TextFailure>(TextFailure{std::move(request).error(), std::nullopt});
  }
  co_return *std::move(request);
}

TextClient::Awaitable<TextClient::TextResult<std::string>> TextClient::tokenize(
    std::string endpoint, std::string body) {
  return preprocess(std::move(endpoint), "tokenize", std::move(body));
}

TextClient::Awaitable<TextClient::TextResult<std::string>> TextClient::detokenize(
    std::string endpoint, std::string body) {
  return preprocess(std::move(endpoint), "detokenize", std::move(body));
}

TextClient::Awaitable<Result<std::vector<AnswerUpdate>>> TextClient::postprocess(
    std::string endpoint, std::vector<PostprocessItem> items) {
  std::vector<AnswerUpdate> updates(items.size());
  std::vector<std::size_t> chosen(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) chosen[i] = i;
  // What the service does not have is sent once more, with all tokens.
  for (const bool sends_all : {false, true}) {
    if (chosen.empty()) break;
    ClientRequest request{"POST", "/v1/postprocess", body_of(items, chosen, sends_all)};
    Result<ClientAnswer> answer =
        co_await http_.exchange(endpoint, std::move(request), kPostprocessTimeout);
    if (!answer) co_return tl::unexpected<Error>(std::move(answer).error());
    if (answer->status != 200)
      co_return tl::unexpected<Error>(unexpected_status(endpoint, *answer));
    Result<Updates> given = read_updates(answer->body, chosen.size());
    if (!given) {
      Error error = std::move(given).error();
      error.code = ErrorCode::kProtocol;
      co_return tl::unexpected<Error>(std::move(error));
    }
    std::vector<std::size_t> missing;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      if ((*given)[i]) {
        updates[chosen[i]] = *std::move((*given)[i]);
      } else {
        missing.push_back(chosen[i]);
      }
    }
    chosen = std::move(missing);
  }
  if (!chosen.empty()) {
    co_return tl::unexpected<Error>(
        Error{ErrorCode::kProtocol,
              fmt::format("the text service at {} asks for tokens that it was given", endpoint),
              std::string(kOneVersionRemedy)});
  }
  co_return updates;
}

}  // namespace dsl::serving
