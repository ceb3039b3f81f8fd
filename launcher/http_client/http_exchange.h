// One HTTP/1.1 request to an engine port, its answer delivered as it comes. The only user of Beast
// in the launcher.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "launcher/process/cancellation.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct HttpRequest {
  std::string endpoint;  // "host:port"
  std::string method = "GET";
  std::string target = "/";
  std::string bearer;  // token of the Authorization header
  std::string body;    // JSON; empty: none
};

struct HttpResponse {
  int status = 0;
  std::string body;  // of a status other than 200; at most 64 KiB
};

/// Receives pieces of a 200's body; an error ends the exchange with it.
using BodySink = std::function<Status(std::string_view bytes)>;

/// Blocks until the answer is complete. kUnreachable: no connection, or it broke in the middle;
/// kDeadlineExceeded: the deadline came; else the reason of `cancellation`. A vanished host is
/// noticed by TCP keepalive.
Result<HttpResponse> exchange(const HttpRequest& request, Deadline deadline,
                              Cancellation& cancellation, const BodySink& on_body);

}  // namespace dsl::launcher
