// Many HTTP/1.1 requests at once from one thread, their answers delivered as they come. The only
// user of Beast in the launcher.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::launcher {

struct HttpRequest {
  std::string endpoint;  // "host:port", or "unix:PATH"
  std::string method = "GET";
  std::string target = "/";
  std::string bearer;    // token of the Authorization header; empty: none
  std::string body;      // JSON; empty: none
  bool use_tls = false;  // certificates are checked against the system's and $SSL_CERT_FILE
};

/// What becomes of a request, told on the loop's thread. Every function may be empty.
struct HttpHandlers {
  std::function<void(int status)> on_head;
  /// Pieces of the body; an error ends the exchange with it.
  std::function<Status(std::string_view bytes)> on_body;
  /// Once, last. kUnreachable: no connection, or it broke in the middle; kAuthentication: the
  /// server's certificate is not trusted.
  std::function<void(Status ended)> on_end;
};

/// Owns its connections: one a request. All calls but stop() from the thread that calls run(), or
/// before it. Thread-compatible.
class HttpLoop {
 public:
  using Clock = std::chrono::steady_clock;
  enum class RequestId : std::uint64_t {};

  HttpLoop();
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  RequestId start(HttpRequest request, HttpHandlers handlers);
  /// Closes the connection; on_end comes with kCancelled. Nothing when it has ended.
  void cancel(RequestId id);
  void call_at(Clock::time_point when, std::function<void()> action);

  /// Returns when nothing is left to do, or after stop().
  void run();
  /// From any thread.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsl::launcher
