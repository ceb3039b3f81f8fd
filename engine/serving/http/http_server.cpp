#include "engine/serving/http/http_server.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/serving/http/http_session_async.h"
#include "engine/serving/http/listen_socket.h"
#include "engine/serving/http/tls_credentials.h"
#include "transport/base/log.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;
using boost::system::error_code;

/// How late a time-out may be noticed.
constexpr auto kDeadlineSweepInterval = std::chrono::milliseconds(100);
constexpr int kSweepsPerTlsCheck = 10;

std::string address_of(StreamSocket& socket) {
  error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return {};
  char text[INET6_ADDRSTRLEN] = "";
  const auto* address = reinterpret_cast<const sockaddr*>(endpoint.data());
  if (address->sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text,
                sizeof text);
  } else if (address->sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
                sizeof text);
  }
  return text;
}

/// The part of a server that lives in the loop's thread; its coroutines share it.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context& context, ListenSocket socket, std::shared_ptr<HttpSessions> sessions,
           std::unique_ptr<TlsCredentials> credentials)
      : socket_(std::move(socket)),
        sessions_(std::move(sessions)),
        credentials_(std::move(credentials)),
        acceptor_(context),
        pause_(context),
        sweep_(context) {
    acceptor_.assign({socket_.family(), 0}, socket_.release_fd());
  }

  void start() {
    const auto executor = acceptor_.get_executor();
    asio::co_spawn(
        executor, [self = shared_from_this()] { return self->accept(); }, asio::detached);
    asio::co_spawn(
        executor, [self = shared_from_this()] { return self->sweep(); }, asio::detached);
  }

  void stop() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }
  /// After the last session has gone.
  void finish() {
    socket_.remove_path();
    is_swept_ = true;
    sweep_.cancel();
  }

 private:
  asio::awaitable<void> accept() {
    while (acceptor_.is_open()) {
      error_code error;
      StreamSocket socket(acceptor_.get_executor());
      co_await acceptor_.async_accept(socket, redirect_error(use_awaitable, error));
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      if (error) {
        // Out of file descriptors, most likely: sessions that end will free some.
        log(LogLevel::kWarning, "cannot accept a connection: {}", error.message());
        pause_.expires_after(std::chrono::milliseconds(100));
        co_await pause_.async_wait(redirect_error(use_awaitable, error));
        continue;
      }
      if (sessions_->alive.size() >= sessions_->options.max_connections) continue;  // closes it
      start_session(std::move(socket));
    }
  }

  void start_session(StreamSocket socket) {
    if (socket_.family() != AF_UNIX) {
      const int on = 1;  // refused by no TCP socket
      (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    std::string address = address_of(socket);
    auto stream = credentials_ ? make_tls_stream(std::move(socket), credentials_->context())
                               : make_plain_stream(std::move(socket));
    std::make_shared<HttpSession>(std::move(stream), std::move(address), sessions_)->start();
  }

  asio::awaitable<void> sweep() {
    for (int round = 1; !is_swept_; ++round) {
      error_code error;
      sweep_.expires_after(kDeadlineSweepInterval);
      co_await sweep_.async_wait(redirect_error(use_awaitable, error));
      sessions_->sweep(std::chrono::steady_clock::now());
      if (credentials_ && round % kSweepsPerTlsCheck == 0) credentials_->reload_if_changed();
    }
  }

  ListenSocket socket_;
  const std::shared_ptr<HttpSessions> sessions_;
  const std::unique_ptr<TlsCredentials> credentials_;
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor_;
  asio::steady_timer pause_;
  asio::steady_timer sweep_;
  bool is_swept_ = false;
};

class AsioServer final : public HttpServer {
 public:
  AsioServer(HttpServerOptions options, HttpHandler& handler, std::unique_ptr<EventLoop> own_loop,
             EventLoop& loop)
      : own_loop_(std::move(own_loop)),
        loop_(loop),
        sessions_(std::make_shared<HttpSessions>(loop.context(), std::move(options), handler)) {}
  ~AsioServer() override { stop(Deadline::after(std::chrono::milliseconds(0))); }

  Status listen() {
    const HttpServerOptions& options = sessions_->options;
    std::unique_ptr<TlsCredentials> credentials;
    if (!options.tls_certificate.empty() || !options.tls_key.empty()) {
      DSL_ASSIGN(credentials, TlsCredentials::load(options.tls_certificate, options.tls_key));
    }
    DSL_ASSIGN(ListenSocket socket, ListenSocket::open(options.listen));
    sessions_->endpoint = socket.endpoint();
    loop_.run([&] {
      listener_ = std::make_shared<Listener>(loop_.context(), std::move(socket), sessions_,
                                             std::move(credentials));
      listener_->start();
    });
    return {};
  }

  std::string endpoint() const override { return sessions_->endpoint; }

  void stop(Deadline deadline) override {
    if (!listener_) return;
    loop_.run([this] {
      sessions_->is_stopping = true;
      listener_->stop();
      const auto alive = sessions_->alive;
      for (HttpSession* session : alive) session->end_when_idle();
    });
    wait_until_empty(deadline);
    loop_.run([this] {
      for (HttpSession* session : sessions_->alive) session->cut();
    });
    wait_until_empty(Deadline::never());
    loop_.run([this] { listener_->finish(); });
    listener_.reset();
  }

 private:
  void wait_until_empty(Deadline deadline) {
    std::unique_lock lock(sessions_->mutex);
    sessions_->all_gone.wait_for(lock, deadline.remaining(),
                                 [this] { return sessions_->is_empty; });
  }

  const std::unique_ptr<EventLoop> own_loop_;
  EventLoop& loop_;
  const std::shared_ptr<HttpSessions> sessions_;
  std::shared_ptr<Listener> listener_;
};

Result<std::unique_ptr<HttpServer>> start_server(std::unique_ptr<AsioServer> server) {
  DSL_TRY(server->listen());
  return server;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options,
                                                      HttpHandler& handler, EventLoop& loop) {
  return start_server(std::make_unique<AsioServer>(std::move(options), handler, nullptr, loop));
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options,
                                                      HttpHandler& handler) {
  auto own = std::make_unique<EventLoop>();
  EventLoop& loop = *own;
  return start_server(
      std::make_unique<AsioServer>(std::move(options), handler, std::move(own), loop));
}

}  // namespace dsl::serving
