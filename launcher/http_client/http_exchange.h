// One HTTP request, waited for.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "launcher/http_client/http_loop.h"
#include "launcher/process/cancellation.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct HttpResponse {
  int status = 0;
  std::string body;  // of a status other than 200; at most 64 KiB
};

/// Receives pieces of a 200's body; an error ends the exchange with it.
using BodySink = std::function<Status(std::string_view bytes)>;

/// Blocks until the answer is complete. kUnreachable: no connection, or it broke in the middle;
/// kAuthentication: the server's certificate is not trusted; kDeadlineExceeded: the deadline came;
/// else the reason of `cancellation`. A vanished host is noticed by TCP keepalive.
Result<HttpResponse> exchange(const HttpRequest& request, Deadline deadline,
                              Cancellation& cancellation, const BodySink& on_body);

/// The same for a short answer: its whole body, at most `max_bytes`, whatever the status.
struct HttpAnswer {
  int status = 0;
  std::string body;
};
Result<HttpAnswer> fetch(const HttpRequest& request, Deadline deadline, Cancellation& cancellation,
                         std::size_t max_bytes);

}  // namespace dsl::launcher
