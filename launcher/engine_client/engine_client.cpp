#include "launcher/engine_client/engine_client.h"

#include <cstring>

#include "launcher/engine_client/http_exchange.h"
#include "launcher/engine_client/messages.h"
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

Result<EngineDescription> EngineClient::info(Deadline deadline, Cancellation& cancellation) const {
  std::string body;
  const auto on_body = [&](std::string_view bytes) -> Status {
    if (bytes.size() > kMaxInfoBytes - body.size()) {
      return fail(ErrorCode::kProtocol, "", "the engine's description is too large");
    }
    body.append(bytes);
    return {};
  };
  const HttpRequest request{endpoint_, "GET", "/v1/info", secret_, ""};
  DSL_TRY(check(exchange(request, deadline, cancellation, on_body)));
  return parse_info(body);
}

}  // namespace dsl::launcher
