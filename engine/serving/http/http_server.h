// An HTTP/1.1 server with streamed answers. Knows nothing of engines; Boost.Beast stays in its .cpp
// file.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// What is known of a request before its body is read.
struct HttpHead {
  std::string method;
  std::string target;           // without the query
  std::string query;            // what follows the '?', as sent
  std::string authorization;    // value of that header, or empty
  std::string content_type;     // likewise
  std::string request_id;       // value of X-Request-Id, or empty
  std::string client_address;   // without port; empty when it has none
  std::string server_endpoint;  // HttpServer::endpoint()
};

struct HttpRequest {
  HttpHead head;
  std::string body;
};

/// The body of an answer that comes bit by bit. take() and abandon() are called from the server's
/// thread.
class ResponseStream {
 public:
  struct Piece {
    std::string bytes;
    bool is_last = false;
    /// The answer cannot be completed: becomes the status of the answer when nothing was sent
    /// before, else the connection is cut so that the client sees a truncated body.
    std::optional<Error> failure;
  };

  virtual ~ResponseStream() = default;
  /// Sets what to call (from any thread) when take() may have something new. Called once, before
  /// the first take().
  virtual void on_ready(std::function<void()> wake) = 0;
  /// What is ready now; nothing ready is an empty piece. Must not block.
  virtual Piece take() = 0;
  /// The client is gone or does not read: nobody will take any more.
  virtual void abandon() = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::shared_ptr<ResponseStream> stream;  // when set, the body is sent in chunks
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones
};

/// The answer that tells an error: {"error": {"code", "name", "message", "remedy"}} with a fitting
/// status.
HttpResponse error_response(const Error& error);
/// The same object as text.
std::string error_json(const Error& error);

/// Answers requests. Both functions are called from the server's thread, must not throw and must
/// not block for long.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /// Looks at the head before the body is read; an answer here refuses the request and ends the
  /// connection.
  virtual std::optional<HttpResponse> refuse(const HttpHead& head) = 0;
  virtual HttpResponse handle(const HttpRequest& request) = 0;
};

struct HttpServerOptions {
  std::string listen = "127.0.0.1:0";  // host:port; port 0: the system chooses
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_body_bytes = 16 * 1024 * 1024;
  std::size_t max_connections = 1024;
  std::chrono::milliseconds request_timeout{
      30'000};  // for a whole request, and for a connection without one
  std::chrono::milliseconds write_timeout{30'000};  // for a client that does not read
};

/// Owns the listening socket, its connections and one thread. Thread-safe.
class HttpServer {
 public:
  /// `handler` must outlive the server. kAddressInUse: the port is taken; kInvalidArgument: not
  /// host:port, or a host that is no address of this machine.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, HttpHandler& handler);
  virtual ~HttpServer() = default;

  /// "host:port" that clients connect to.
  virtual std::string endpoint() const = 0;
  /// Takes no new requests, lets answers in progress end by the deadline, then cuts the
  /// connections.
  virtual void stop(Deadline deadline) = 0;
};

}  // namespace dsl::serving
