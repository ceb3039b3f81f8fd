#include "launcher/http_client/http_exchange.h"

#include <algorithm>
#include <optional>

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxErrorBody = 65536;

}  // namespace

Result<HttpResponse> exchange(const HttpRequest& request, Deadline deadline,
                              Cancellation& cancellation, const BodySink& on_body) {
  HttpLoop loop;
  HttpResponse response;
  std::optional<Status> ended;
  bool timed_out = false;
  HttpHandlers handlers;
  handlers.on_head = [&](int status) { response.status = status; };
  handlers.on_body = [&](std::string_view bytes) -> Status {
    if (response.status == 200) return on_body(bytes);
    const std::size_t room = kMaxErrorBody - std::min(kMaxErrorBody, response.body.size());
    response.body.append(bytes.substr(0, room));
    return {};
  };
  handlers.on_end = [&](Status status) {
    ended = std::move(status);
    loop.stop();
  };
  loop.start(request, std::move(handlers));
  if (!deadline.is_never()) {
    loop.call_at(deadline.time_point(), [&] {
      timed_out = true;
      loop.stop();
    });
  }
  cancellation.set_hook([&loop] { loop.stop(); });
  loop.run();
  cancellation.set_hook({});
  if (std::optional<Error> reason = cancellation.reason()) {
    return tl::unexpected<Error>(*std::move(reason));
  }
  if (!ended && timed_out) {
    return fail(ErrorCode::kDeadlineExceeded, "see whether the service is overloaded",
                "{} {} of {}: no answer in time", request.method, request.target, request.endpoint);
  }
  if (ended && !*ended) return tl::unexpected<Error>(std::move(*ended).error());
  return response;
}

Result<HttpAnswer> fetch(const HttpRequest& request, Deadline deadline, Cancellation& cancellation,
                         std::size_t max_bytes) {
  HttpAnswer answer;
  const auto on_body = [&](std::string_view bytes) -> Status {
    if (bytes.size() > max_bytes - std::min(max_bytes, answer.body.size())) {
      return fail(ErrorCode::kProtocol, "", "{} {}: the answer is larger than {} bytes",
                  request.endpoint, request.target, max_bytes);
    }
    answer.body.append(bytes);
    return {};
  };
  DSL_ASSIGN(HttpResponse response, exchange(request, deadline, cancellation, on_body));
  answer.status = response.status;
  if (response.status != 200) answer.body = std::move(response.body);
  return answer;
}

}  // namespace dsl::launcher
