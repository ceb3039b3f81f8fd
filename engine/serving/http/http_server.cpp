#include "engine/serving/http/http_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::redirect_error;
using asio::use_awaitable;
using asio::ip::tcp;
using boost::system::error_code;

class Session;

/// The sessions that are alive; everything but `all_gone` belongs to the server's thread.
struct Sessions {
  std::set<Session*> alive;
  bool is_stopping = false;
  std::mutex mutex;
  std::condition_variable all_gone;
  bool is_empty = true;  // guarded by mutex

  void publish() {
    const std::scoped_lock lock(mutex);
    is_empty = alive.empty();
    if (is_empty) all_gone.notify_all();
  }
};

/// One connection; lives as long as its coroutine.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const HttpServerOptions& options, const std::string& endpoint,
          HttpHandler& handler, Sessions& sessions)
      : stream_(std::move(socket)),
        wake_(stream_.get_executor(), asio::steady_timer::time_point::max()),
        options_(options),
        endpoint_(endpoint),
        handler_(handler),
        sessions_(sessions) {
    sessions_.alive.insert(this);
    sessions_.publish();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    sessions_.alive.erase(this);
    sessions_.publish();
  }

  void start() {
    asio::co_spawn(
        stream_.get_executor(), [self = shared_from_this()] { return self->run(); },
        asio::detached);
  }

  /// Ends the connection unless an answer is under way.
  void end_when_idle() {
    if (!is_answering_) cut();
  }

  void cut() {
    error_code ignored;
    stream_.socket().close(ignored);
    is_gone_ = true;
    wake_.cancel();
  }

 private:
  asio::awaitable<void> run() {
    bool keep_alive = true;
    while (keep_alive && !sessions_.is_stopping && !is_gone_) keep_alive = co_await serve_one();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  }

  /// True when the connection can carry another request.
  asio::awaitable<bool> serve_one() {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(options_.max_header_bytes));
    parser.body_limit(options_.max_body_bytes);
    stream_.expires_after(options_.request_timeout);
    error_code error;
    co_await http::async_read_header(stream_, buffer_, parser,
                                     redirect_error(use_awaitable, error));
    if (error) co_return co_await refuse_unreadable(error);

    is_answering_ = true;
    HttpRequest request{head_of(parser.get()), {}};
    if (auto refusal = handler_.refuse(request.head)) {
      co_await send_whole(*refusal, /*keep_alive=*/false);
      co_await drain();
      co_return false;
    }
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(stream_, asio::buffer(kContinue),
                                 redirect_error(use_awaitable, error));
    }
    if (!error)
      co_await http::async_read(stream_, buffer_, parser, redirect_error(use_awaitable, error));
    if (error) co_return co_await refuse_unreadable(error);

    const bool keep_alive = parser.get().keep_alive();
    request.body = std::move(parser.get().body());
    const HttpResponse response = handler_.handle(request);
    const bool is_sent = response.stream ? co_await send_stream(response, keep_alive)
                                         : co_await send_whole(response, keep_alive);
    is_answering_ = false;
    co_return is_sent&& keep_alive;
  }

  HttpHead head_of(const http::request<http::string_body>& request) const {
    const auto text = [](beast::string_view view) { return std::string(view.data(), view.size()); };
    HttpHead head;
    head.method = text(request.method_string());
    head.target = text(request.target());
    const std::size_t question = std::min(head.target.find('?'), head.target.size());
    if (question < head.target.size()) head.query = head.target.substr(question + 1);
    head.target.resize(question);
    head.authorization = text(request[http::field::authorization]);
    head.content_type = text(request[http::field::content_type]);
    head.request_id = text(request["X-Request-Id"]);
    error_code error;
    const tcp::endpoint client = stream_.socket().remote_endpoint(error);
    if (!error) head.client_address = client.address().to_string();
    head.server_endpoint = endpoint_;
    return head;
  }

  /// Tells the client what was wrong with its bytes, if it is still there.
  asio::awaitable<bool> refuse_unreadable(error_code error) {
    const bool is_silent = error == http::error::end_of_stream || error == beast::error::timeout ||
                           error.category() == asio::error::get_system_category() ||
                           error == asio::error::eof;
    if (is_silent) co_return false;
    HttpResponse response = error_response(
        {ErrorCode::kRequestInvalid,
         fmt::format("the HTTP request is malformed or too large: {}", error.message()),
         fmt::format("send at most {} bytes of headers and {} bytes of body",
                     options_.max_header_bytes, options_.max_body_bytes)});
    if (error == http::error::body_limit) response.status = 413;
    if (error == http::error::header_limit) response.status = 431;
    co_await send_whole(response, /*keep_alive=*/false);
    co_await drain();
    co_return false;
  }

  /// Reads on for a moment: closing with unread bytes would reset the connection and take the
  /// answer with it.
  asio::awaitable<void> drain() {
    constexpr std::size_t kMaxDrainedBytes = 4 << 20;
    error_code error;
    stream_.socket().shutdown(tcp::socket::shutdown_send, error);
    stream_.expires_after(std::chrono::seconds(1));
    std::array<char, 4096> bytes;
    for (std::size_t total = 0; !error && total < kMaxDrainedBytes;) {
      total += co_await stream_.async_read_some(asio::buffer(bytes),
                                                redirect_error(use_awaitable, error));
    }
  }

  template <typename Message>
  static void set_headers(Message& message, const HttpResponse& response, bool keep_alive) {
    message.set(http::field::content_type, response.content_type);
    if (response.status == 401) message.set(http::field::www_authenticate, "Bearer");
    if (response.status == 429) message.set(http::field::retry_after, "1");
    for (const auto& [name, value] : response.headers) message.set(name, value);
    message.keep_alive(keep_alive);
  }

  asio::awaitable<bool> send_whole(const HttpResponse& response, bool keep_alive) {
    http::response<http::string_body> message(static_cast<http::status>(response.status), 11);
    set_headers(message, response, keep_alive);
    message.body() = response.body;
    message.prepare_payload();
    stream_.expires_after(options_.write_timeout);
    error_code error;
    co_await http::async_write(stream_, message, redirect_error(use_awaitable, error));
    co_return !error;
  }

  asio::awaitable<bool> send_stream(const HttpResponse& response, bool keep_alive) {
    ResponseStream& source = *response.stream;
    source.on_ready([weak = weak_from_this(), executor = stream_.get_executor()] {
      asio::post(executor, [weak] {
        if (const auto self = weak.lock()) self->wake_.cancel();
      });
    });
    watch_client();
    bool has_begun = false;
    error_code error;
    while (!error && !is_gone_) {
      ResponseStream::Piece piece = source.take();
      if (piece.failure) {
        source.abandon();
        if (has_begun) break;
        unwatch_client();
        co_return co_await send_whole(error_response(*piece.failure), keep_alive);
      }
      if (piece.bytes.empty() && !piece.is_last) {
        error_code woken;
        co_await wake_.async_wait(redirect_error(use_awaitable, woken));
        continue;
      }
      stream_.expires_after(options_.write_timeout);
      if (!has_begun) {
        has_begun = true;
        co_await send_stream_header(response, keep_alive, error);
      }
      if (!error && !piece.bytes.empty()) {
        co_await asio::async_write(stream_, http::make_chunk(asio::buffer(piece.bytes)),
                                   redirect_error(use_awaitable, error));
      }
      if (!error && piece.is_last) {
        co_await asio::async_write(stream_, http::make_chunk_last(),
                                   redirect_error(use_awaitable, error));
        unwatch_client();
        co_return !error;
      }
      stream_.expires_never();
    }
    source.abandon();
    cut();
    co_return false;
  }

  asio::awaitable<void> send_stream_header(const HttpResponse& response, bool keep_alive,
                                           error_code& error) {
    http::response<http::empty_body> header(static_cast<http::status>(response.status), 11);
    set_headers(header, response, keep_alive);
    header.chunked(true);
    http::response_serializer<http::empty_body> serializer(header);
    co_await http::async_write_header(stream_, serializer, redirect_error(use_awaitable, error));
  }

  /// Notices a client that closes its end while it waits for an answer.
  void watch_client() {
    is_watching_ = true;
    stream_.socket().async_wait(
        tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
          if (error || !self->is_watching_) return;
          char byte = 0;
          const ssize_t count =
              ::recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          if (count > 0) return;  // a pipelined request; the client is there
          if (count < 0 && (errno == EAGAIN || errno == EINTR)) return self->watch_client();
          self->is_gone_ = true;
          self->wake_.cancel();
        });
  }

  void unwatch_client() {
    is_watching_ = false;
    error_code ignored;
    stream_.socket().cancel(ignored);
  }

  beast::tcp_stream stream_;
  asio::steady_timer wake_;
  beast::flat_buffer buffer_;
  const HttpServerOptions& options_;
  const std::string& endpoint_;
  HttpHandler& handler_;
  Sessions& sessions_;
  bool is_answering_ = false;
  bool is_watching_ = false;
  bool is_gone_ = false;
};

class BeastServer final : public HttpServer {
 public:
  BeastServer(HttpServerOptions options, HttpHandler& handler)
      : options_(std::move(options)), handler_(handler), acceptor_(context_), pause_(context_) {}

  ~BeastServer() override { stop(Deadline::after(std::chrono::milliseconds(0))); }

  Status listen() {
    const std::size_t colon = options_.listen.rfind(':');
    const std::string host = options_.listen.substr(0, std::min(colon, options_.listen.size()));
    const std::string port = colon == std::string::npos ? "" : options_.listen.substr(colon + 1);
    const bool is_port = !port.empty() && port.size() <= 5 &&
                         port.find_first_not_of("0123456789") == std::string::npos &&
                         std::stoi(port) <= 65535;
    if (host.empty() || !is_port) {
      return fail(ErrorCode::kInvalidArgument, "give HOST:PORT, for example 127.0.0.1:0",
                  "cannot listen at \"{}\": expected host:port", options_.listen);
    }
    error_code error;
    tcp::resolver resolver(context_);
    const auto found = resolver.resolve(tcp::v4(), host, port, tcp::resolver::passive, error);
    if (error || found.empty()) {
      return fail(ErrorCode::kInvalidArgument, "give an address or a name of this machine",
                  "cannot listen at {}: {}", options_.listen, error.message());
    }
    const tcp::endpoint address = found.begin()->endpoint();
    acceptor_.open(address.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(address, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return fail(error == asio::error::address_in_use ? ErrorCode::kAddressInUse
                                                       : ErrorCode::kInvalidArgument,
                  "choose another port, or 0 for a free one", "cannot listen at {}: {}",
                  options_.listen, error.message());
    }
    endpoint_ = fmt::format("{}:{}", host, acceptor_.local_endpoint(error).port());
    asio::co_spawn(context_, accept(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
    return {};
  }

  std::string endpoint() const override { return endpoint_; }

  void stop(Deadline deadline) override {
    if (!thread_.joinable()) return;
    asio::post(context_, [this] {
      sessions_.is_stopping = true;
      error_code ignored;
      acceptor_.close(ignored);
      pause_.cancel();
      for (Session* session : sessions_.alive) session->end_when_idle();
    });
    {
      std::unique_lock lock(sessions_.mutex);
      sessions_.all_gone.wait_for(lock, deadline.remaining(),
                                  [this] { return sessions_.is_empty; });
    }
    asio::post(context_, [this] {
      for (Session* session : sessions_.alive) session->cut();
    });
    thread_.join();  // run() returns when the last session is gone
  }

 private:
  asio::awaitable<void> accept() {
    while (acceptor_.is_open()) {
      error_code error;
      tcp::socket socket(context_);
      co_await acceptor_.async_accept(socket, redirect_error(use_awaitable, error));
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      if (error) {
        // Out of file descriptors, most likely: sessions that end will free some.
        log(LogLevel::kWarning, "cannot accept a connection: {}", error.message());
        pause_.expires_after(std::chrono::milliseconds(100));
        co_await pause_.async_wait(redirect_error(use_awaitable, error));
        continue;
      }
      if (sessions_.alive.size() >= options_.max_connections) continue;  // closes the socket
      socket.set_option(tcp::no_delay(true), error);
      std::make_shared<Session>(std::move(socket), options_, endpoint_, handler_, sessions_)
          ->start();
    }
  }

  const HttpServerOptions options_;
  HttpHandler& handler_;
  Sessions sessions_;  // outlives the sessions, which the context's pending handlers own
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::string endpoint_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options,
                                                      HttpHandler& handler) {
  auto server = std::make_unique<BeastServer>(std::move(options), handler);
  DSL_TRY(server->listen());
  return server;
}

}  // namespace dsl::serving
