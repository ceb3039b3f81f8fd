#include "launcher/engine_client/engine_client.h"

#include <cstring>

#include "launcher/engine_client/messages.h"
#include "launcher/http_client/http_exchange.h"
#include "launcher/process/line_buffer.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxLineBytes = 16 << 20;  // logprobs of a long prompt
constexpr std::size_t kMaxInfoBytes = 1 << 20;

Status check(const Result<HttpResponse>& response) {
  if (!response) return tl::unexpected<Error>(response.error());
  if (response->status == 200) return {};
  return tl::unexpected<Error>(parse_refusal(response->status, response->body));
}

}  // namespace

Result<GenerateResult> EngineClient::generate(
    const GenerateOptions& options, Cancellation& cancellation,
    const std::function<void(const std::string&)>& on_text) const {
  DSL_ASSIGN(std::string body, generate_body(options));
  GenerateStream stream;
  LineBuffer lines(kMaxLineBytes);
  Status taken;
  const auto take_line = [&](std::string_view line) {
    if (!taken || line.empty()) return;
    Result<std::string> text = stream.take_line(line);
    if (!text) {
      taken = tl::unexpected<Error>(std::move(text).error());
    } else if (on_text && !text->empty()) {
      on_text(*text);
    }
  };
  const auto on_body = [&](std::string_view bytes) {
    lines.feed(bytes, take_line);
    return taken;
  };
  const HttpRequest request{endpoint_, "POST", "/v1/generate", secret_, std::move(body)};
  DSL_TRY(check(exchange(request, Deadline::never(), cancellation, on_body)));
  lines.finish(take_line);
  DSL_TRY(taken);
  return std::move(stream).finish();
}

Status EngineClient::score(std::span<const std::int32_t> token_ids, Cancellation& cancellation,
                           const std::function<Status(std::span<const float>)>& on_values) const {
  std::vector<float> values;
  std::string rest;  // bytes of a value that is not complete
  const auto on_body = [&](std::string_view bytes) -> Status {
    rest.append(bytes);
    values.resize(rest.size() / sizeof(float));
    std::memcpy(values.data(), rest.data(), values.size() * sizeof(float));
    rest.erase(0, values.size() * sizeof(float));
    return on_values(values);
  };
  const HttpRequest request{endpoint_, "POST", "/v1/score", secret_, score_body(token_ids)};
  return check(exchange(request, Deadline::never(), cancellation, on_body));
}

Result<std::string> EngineClient::ask(const std::string& method, const std::string& target,
                                      Deadline deadline, Cancellation& cancellation) const {
  const HttpRequest request{endpoint_, method, target, secret_, ""};
  DSL_ASSIGN(HttpAnswer answer, fetch(request, deadline, cancellation, kMaxInfoBytes));
  if (answer.status == 200) return std::move(answer.body);
  return tl::unexpected<Error>(parse_refusal(answer.status, answer.body));
}

Result<EngineDescription> EngineClient::info(Deadline deadline, Cancellation& cancellation) const {
  DSL_ASSIGN(const std::string body, ask("GET", "/v1/info", deadline, cancellation));
  return parse_info(body);
}

Result<std::int64_t> EngineClient::drain(Deadline deadline, Cancellation& cancellation) const {
  DSL_ASSIGN(const std::string body, ask("POST", "/v1/drain", deadline, cancellation));
  return parse_drain(body);
}

}  // namespace dsl::launcher
