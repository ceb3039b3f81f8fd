// An HTTP/1.1 server with streamed answers, over TCP, TLS or a Unix socket. Knows nothing of
// engines; Boost.Asio stays in .cpp files.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "engine/serving/http/event_loop.h"
#include "engine/serving/http/http_message.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Answers requests. All functions are called from the server's thread, must not throw and must
/// not block for long.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /// Looks at the head before the body is read; an answer here refuses the request and ends the
  /// connection.
  virtual std::optional<HttpResponse> refuse(const HttpHead& head) = 0;
  virtual HttpResponse handle(const HttpRequest& request) = 0;
  /// The largest body that this request may have; nothing: the server's own limit.
  virtual std::optional<std::size_t> body_limit(const HttpHead& /*head*/) { return std::nullopt; }
  /// How errors that the server finds itself (malformed requests, broken streams) are told. The
  /// server may set another status.
  virtual HttpResponse describe(const Error& error) { return error_response(error); }
};

struct HttpServerOptions {
  std::string listen = "127.0.0.1:0";  // host:port (port 0: the system chooses) or unix:PATH
  std::string tls_certificate;         // PEM chain; with tls_key: TLS. Read again when they change
  std::string tls_key;
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_body_bytes = 16 * 1024 * 1024;
  std::size_t max_connections = 8192;
  std::chrono::milliseconds header_timeout{10'000};  // for TLS handshake and headers, once begun
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds idle_timeout{75'000};   // for a connection between requests
  std::chrono::milliseconds write_timeout{30'000};  // for a client that does not read
};

/// Owns the listening socket and its connections. Thread-safe.
class HttpServer {
 public:
  /// `handler` must outlive the server, as must the loop, whose thread does the work.
  /// kAddressInUse: the port or path is taken; kInvalidArgument: no address, or one that is not of
  /// this machine; kConfig: unusable certificate or key.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, HttpHandler& handler,
                                                   EventLoop& loop);
  /// With a loop of its own.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, HttpHandler& handler);
  virtual ~HttpServer() = default;

  /// "host:port" or "unix:PATH" that clients connect to.
  virtual std::string endpoint() const = 0;
  /// Takes no new requests, lets answers in progress end by the deadline, then cuts the
  /// connections. Not from the server's thread.
  virtual void stop(Deadline deadline) = 0;
};

}  // namespace dsl::serving
