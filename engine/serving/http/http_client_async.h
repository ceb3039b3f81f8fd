// An HTTP/1.1 client for services of the deployment: connections are kept, and each new one must
// prove whose it is before the secret goes over it. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/serving/http/byte_stream_async.h"
#include "engine/serving/http/event_loop.h"
#include "engine/serving/http/http_response_reader.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// The question that a server must answer before it is trusted. Thread-compatible.
class ServerCheck {
 public:
  virtual ~ServerCheck() = default;
  /// The target of a GET, new each time.
  virtual Result<std::string> question() = 0;
  virtual bool accepts(const std::string& endpoint, const std::string& question,
                       const std::string& answer) = 0;
};

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";
  std::string body;  // JSON
};

struct ClientAnswer {
  int status = 0;
  std::string body;
};

class ClientCall;

/// Owns the idle connections. Everything belongs to the loop's thread, construction included; calls
/// must end before the client does.
class HttpClient {
 public:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  using Clock = std::chrono::steady_clock;

  /// `check` may be null: all servers are trusted.
  HttpClient(EventLoop& loop, std::string secret, std::shared_ptr<ServerCheck> check);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// A whole answer within `timeout`. kUnreachable, kDeadlineExceeded, kAuthentication (the server
  /// is not of this deployment), kProtocol.
  Awaitable<Result<ClientAnswer>> exchange(std::string endpoint, ClientRequest request,
                                           std::chrono::milliseconds timeout);
  /// Closes the idle connections to a server that has gone.
  void forget(const std::string& endpoint);
  std::size_t num_idle_connections(const std::string& endpoint) const;

 private:
  friend class ClientCall;
  struct Connection {
    std::unique_ptr<ByteStream> stream;
    std::string received;  // and not yet taken
    Clock::time_point idle_since;
  };

  std::unique_ptr<Connection> take_idle(const std::string& endpoint);
  void put_back(const std::string& endpoint, std::unique_ptr<Connection> connection);

  struct Sweeping {  // outlives the client until its coroutine ends
    explicit Sweeping(boost::asio::io_context& context);
    boost::asio::steady_timer timer;
    bool is_over = false;
  };
  static Awaitable<void> sweep(std::shared_ptr<Sweeping> sweeping, HttpClient* client);
  void sweep_now(Clock::time_point now);

  EventLoop& loop_;
  const std::string secret_;
  const std::shared_ptr<ServerCheck> check_;
  std::unordered_map<std::string, std::vector<std::unique_ptr<Connection>>> idle_;
  std::unordered_set<ClientCall*> timed_calls_;  // those with a deadline
  const std::shared_ptr<Sweeping> sweeping_;
};

/// One request and its answer. cancel() may be called at any time; a call that is destroyed before
/// the end of its answer closes its connection. Belongs to the loop's thread.
class ClientCall {
 public:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  using Clock = std::chrono::steady_clock;
  using LineTaker = std::function<bool(std::string_view lines)>;

  ClientCall(HttpClient& client, std::string endpoint);
  ClientCall(const ClientCall&) = delete;
  ClientCall& operator=(const ClientCall&) = delete;
  ~ClientCall();

  /// Sends the request and waits for the head of the answer; its status.
  Awaitable<Result<int>> send(ClientRequest request);
  /// The rest of the body. kProtocol when it is larger.
  Awaitable<Result<std::string>> read_all(std::size_t max_bytes);
  /// Gives `take` the whole lines of the body, at each time all that are there, until it returns
  /// false. True at the end of the body. `take` may cancel the call.
  Awaitable<Result<bool>> read_lines(LineTaker take);

  /// Operations under way end with kCancelled.
  void cancel();
  /// By when the operations must have ended; looked at every 100 ms.
  void set_deadline(Clock::time_point deadline);

 private:
  friend class HttpClient;
  struct Failure {
    Error error;
    bool may_retry = false;  // an idle connection that the server closed at the same moment
  };

  Awaitable<Result<void>> connect();
  Awaitable<Result<void>> check_server();
  Awaitable<Result<std::string>> ask(const std::string& question);
  Awaitable<tl::expected<int, Failure>> exchange_heads(const std::string& bytes, bool was_idle);
  std::string to_bytes(const ClientRequest& request) const;
  Error broken(std::string_view operation, const boost::system::error_code& error) const;
  HttpResponseReader::Progress decode_body(std::string_view bytes);
  bool hand_over_lines(const LineTaker& take);
  void close();
  void finish();

  HttpClient& client_;
  const std::string endpoint_;
  std::unique_ptr<HttpClient::Connection> connection_;
  std::unique_ptr<HttpResponseReader> reader_;
  StreamSocket* connecting_ = nullptr;
  std::string unread_;  // of the body: what is not a whole line yet
  Clock::time_point deadline_ = Clock::time_point::max();
  bool is_cancelled_ = false;
  bool is_late_ = false;
};

}  // namespace dsl::serving
