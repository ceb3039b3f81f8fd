// One connection of a server, from its first byte to its end. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>

#include "engine/serving/http/byte_stream_async.h"
#include "engine/serving/http/http_request_reader.h"
#include "engine/serving/http/http_server.h"

namespace dsl::serving {

class HttpSession;

/// What the sessions of a server share. Everything but the guarded members belongs to the loop's
/// thread.
struct HttpSessions {
  HttpSessions(boost::asio::io_context& given_loop, HttpServerOptions given_options,
               HttpHandler& given_handler)
      : loop(given_loop), options(std::move(given_options)), handler(given_handler) {}

  /// Ends what is late; the time-outs of all sessions cost one timer this way.
  void sweep(std::chrono::steady_clock::time_point now);
  void publish();

  boost::asio::io_context& loop;
  const HttpServerOptions options;
  HttpHandler& handler;
  std::string endpoint;
  std::unordered_set<HttpSession*> alive;
  bool is_stopping = false;

  std::mutex mutex;
  std::condition_variable all_gone;
  bool is_empty = true;  // guarded by mutex
};

/// Lives as long as its coroutine.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpSession(std::unique_ptr<ByteStream> stream, std::string client_address,
              std::shared_ptr<HttpSessions> sessions);
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;
  ~HttpSession();

  void start();
  /// Ends the connection unless an answer is under way.
  void end_when_idle();
  void cut();
  /// Cuts a session whose deadline has passed or whose client has gone.
  void sweep(Clock::time_point now);

 private:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  /// How an answer is to be sent, taken from its request.
  struct Manner {
    bool keeps_alive = false;
    bool is_head = false;  // the method HEAD: no body
  };

  struct Answer {
    HttpResponse response;
    Manner manner;
    bool has_begun = false;  // something of it was sent
  };
  /// What is to be sent next of a stream.
  struct Portion {
    std::string bytes;  // empty: nothing is ready
    bool is_last = false;
    bool is_broken = false;  // cut the connection
  };

  Awaitable<void> run();
  Awaitable<bool> serve_one();
  Awaitable<std::optional<Answer>> receive();
  Awaitable<bool> read_head(HttpRequestReader& reader);
  Awaitable<bool> read_body(HttpRequestReader& reader);
  Awaitable<void> refuse(HttpResponse response, Manner manner);
  HttpResponse describe(const RequestProblem& problem);
  Awaitable<void> drain();
  Awaitable<bool> send_whole(const HttpResponse& response, Manner manner);
  Awaitable<bool> send_stream(Answer& answer);
  Awaitable<bool> send_portions(Answer& answer);
  void note_news();
  void send_news();
  /// Sends what is ready as far as the system takes it at once. True: `unsent_` is what is left to
  /// do.
  bool send_ready(Answer& answer);
  Portion next_portion(Answer& answer);
  Awaitable<bool> write(std::string_view bytes);
  void allow(std::chrono::milliseconds time) { deadline_ = Clock::now() + time; }
  void wake();

  std::unique_ptr<ByteStream> stream_;
  boost::asio::steady_timer wake_;
  std::string received_;  // and not yet taken
  const std::string client_address_;
  const std::shared_ptr<HttpSessions> sessions_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Answer* waiting_ = nullptr;  // the stream whose coroutine waits for news
  Portion unsent_;
  bool is_news_noted_ = false;
  bool is_answering_ = false;
  bool is_streaming_ = false;
  bool is_gone_ = false;
};

}  // namespace dsl::serving
