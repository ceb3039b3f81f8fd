// HTTP requests and answers as handlers see them, answers that come bit by bit included.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

class ResponseStream;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::shared_ptr<ResponseStream> stream;  // when set, the body is sent in chunks
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones
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
    /// The answer after all, in place of the stream; only as the first piece.
    std::shared_ptr<HttpResponse> whole;
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

/// The answer that tells an error: {"error": {"code", "name", "message", "remedy"}} with a fitting
/// status.
HttpResponse error_response(const Error& error);
/// The same object as text.
std::string error_json(const Error& error);

}  // namespace dsl::serving
