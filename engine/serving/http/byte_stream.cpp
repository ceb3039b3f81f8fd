#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/compose.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "engine/serving/http/byte_stream_async.h"

namespace dsl::serving {
namespace {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;
using boost::system::error_code;

/// Never in use across a wait.
thread_local std::array<char, 64 * 1024> read_buffer;

error_code last_error() { return {errno, boost::system::system_category()}; }

/// What plain and TLS connections share: the socket, and watching it.
class SocketStream : public ByteStream {
 public:
  asio::any_io_executor executor() override { return socket().get_executor(); }

  void close() override {
    error_code ignored;
    socket().close(ignored);
  }

  void watch(std::function<void()> on_gone) override {
    on_gone_ = std::move(on_gone);
    is_watch_blind_ = false;
    if (!alive_) alive_ = std::make_shared<int>();
    wait_for_end();
  }

  void unwatch() override {
    on_gone_ = nullptr;
    error_code ignored;
    socket().cancel(ignored);
  }

  bool is_watch_blind() const override { return is_watch_blind_; }

  bool has_ended_unread() const override {
    pollfd entry{const_cast<SocketStream*>(this)->socket().native_handle(), POLLRDHUP, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

 protected:
  virtual StreamSocket& socket() = 0;

 private:
  void wait_for_end() {
    socket().async_wait(
        StreamSocket::wait_read, [this, alive = std::weak_ptr<int>(alive_)](error_code error) {
          if (error || alive.expired() || !on_gone_) return;
          char byte = 0;
          const ssize_t count = ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          is_watch_blind_ = count > 0;
          if (is_watch_blind_) return;  // a pipelined request; the client is there
          if (count < 0 && (errno == EAGAIN || errno == EINTR)) return wait_for_end();
          std::exchange(on_gone_, nullptr)();
        });
  }

  std::function<void()> on_gone_;
  bool is_watch_blind_ = false;
  std::shared_ptr<int> alive_;  // ends with this object; there once it is watched
};

class PlainStream final : public SocketStream {
 public:
  explicit PlainStream(StreamSocket socket) : socket_(std::move(socket)) {}

  Awaitable<Error> begin() override { co_return Error(); }

  Awaitable<Error> read_some(std::string& bytes) override {
    std::string_view received;
    while (true) {
      if (std::exchange(is_drained_, false)) {
        Error error;
        co_await socket_.async_wait(StreamSocket::wait_read, redirect_error(use_awaitable, error));
        if (error) co_return error;
      }
      const Error error = receive(received);
      if (error) co_return error;
      if (received.empty()) continue;
      bytes.append(received);
      co_return Error();
    }
  }

  Awaitable<End> read_each(const Taker& take) override {
    return asio::async_compose<const asio::use_awaitable_t<>, void(End)>(ReadLoop{*this, take},
                                                                         use_awaitable);
  }

  std::size_t write_now(std::string_view bytes) override {
    const ssize_t count =
        ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
  }

  Awaitable<Error> write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t count =
          ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(count));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return last_error();
      Error error;
      co_await socket_.async_wait(StreamSocket::wait_write, redirect_error(use_awaitable, error));
      if (error) co_return error;
    }
    co_return Error();
  }

  Awaitable<void> end() override {
    Error ignored;
    socket_.shutdown(StreamSocket::shutdown_send, ignored);
    co_return;
  }

 protected:
  StreamSocket& socket() override { return socket_; }

 private:
  /// Waits and reads until it has ended, then completes with the reason.
  struct ReadLoop {
    template <typename Self>
    void operator()(Self& self) {
      wait(self);
    }
    template <typename Self>
    void operator()(Self& self, Error error) {
      bool wants_more = true;
      while (!error && wants_more) {
        std::string_view received;
        error = stream.receive(received);
        if (!error && !received.empty()) wants_more = take(received);
        if (!error && wants_more && std::exchange(stream.is_drained_, false)) return wait(self);
      }
      self.complete(End{error});
    }
    template <typename Self>
    void wait(Self& self) {
      stream.socket_.async_wait(StreamSocket::wait_read, std::move(self));
    }

    PlainStream& stream;
    const Taker& take;
  };

  /// What has come, in the thread's buffer; empty when nothing has.
  Error receive(std::string_view& received) {
    const ssize_t count =
        ::recv(socket_.native_handle(), read_buffer.data(), read_buffer.size(), MSG_DONTWAIT);
    if (count == 0) return asio::error::eof;
    if (count < 0 && errno == EINTR) return {};
    if (count < 0 && errno != EAGAIN) return last_error();
    is_drained_ = count < 0 || static_cast<std::size_t>(count) < read_buffer.size();
    if (count > 0) received = {read_buffer.data(), static_cast<std::size_t>(count)};
    return {};
  }

  StreamSocket socket_;
  bool is_drained_ = false;  // the last read took all that was there: wait before the next
};

class TlsStream final : public SocketStream {
 public:
  TlsStream(StreamSocket socket, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}

  Awaitable<Error> begin() override {
    Error error;
    co_await stream_.async_handshake(asio::ssl::stream_base::server,
                                     redirect_error(use_awaitable, error));
    co_return error;
  }

  Awaitable<Error> read_some(std::string& bytes) override {
    // Unlike a plain socket, TLS writes into the buffer while others run.
    std::array<char, 4096> buffer;
    Error error;
    const std::size_t count = co_await stream_.async_read_some(
        asio::buffer(buffer), redirect_error(use_awaitable, error));
    bytes.append(buffer.data(), count);
    co_return count > 0 ? Error() : error;
  }

  Awaitable<End> read_each(const Taker& take) override {
    std::string bytes;
    while (true) {
      bytes.clear();
      const Error error = co_await read_some(bytes);
      if (error || !take(bytes)) co_return End{error};
    }
  }

  /// What is encrypted must be written.
  std::size_t write_now(std::string_view) override { return 0; }

  Awaitable<Error> write(std::string_view bytes) override {
    Error error;
    co_await asio::async_write(stream_, asio::buffer(bytes), redirect_error(use_awaitable, error));
    co_return error;
  }

  Awaitable<void> end() override {
    Error ignored;
    co_await stream_.async_shutdown(redirect_error(use_awaitable, ignored));
  }

 protected:
  StreamSocket& socket() override { return stream_.next_layer(); }

 private:
  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<StreamSocket> stream_;
};

}  // namespace

std::unique_ptr<ByteStream> make_plain_stream(StreamSocket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

std::unique_ptr<ByteStream> make_tls_stream(StreamSocket socket,
                                            std::shared_ptr<asio::ssl::context> context) {
  return std::make_unique<TlsStream>(std::move(socket), std::move(context));
}

}  // namespace dsl::serving
