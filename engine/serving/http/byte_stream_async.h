// One connection's bytes, over TCP, a Unix socket or TLS. For .cpp files: holds coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/serving/http/tls_credentials.h"

namespace dsl::serving {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

/// Owns its socket. Waiting costs no buffer: what comes is read into one that the thread's streams
/// share. At most one read and one write at a time; belongs to the loop's thread.
class ByteStream {
 public:
  using Error = boost::system::error_code;
  using Taker = std::function<bool(std::string_view)>;
  /// Why a read has ended; no error: its taker wanted no more.
  struct End {
    Error error;
  };
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;

  virtual ~ByteStream() = default;
  virtual boost::asio::any_io_executor executor() = 0;
  /// What must happen before the first byte: a TLS server's part of the handshake.
  virtual Awaitable<Error> begin() = 0;
  /// Waits for bytes and appends what has come; end_of_file when the other side has ended.
  virtual Awaitable<Error> read_some(std::string& bytes) = 0;
  /// Gives `take` what comes, until it returns false: what comes in many small pieces wakes no
  /// coroutine for each of them. `take` must outlive the read; it may close the stream, and must
  /// not read from any.
  virtual Awaitable<End> read_each(const Taker& take) = 0;
  /// Hands over what the system takes without waiting, and returns how much that was; write() is
  /// for the rest and tells errors.
  virtual std::size_t write_now(std::string_view bytes) = 0;
  /// Returns when all bytes are with the system.
  virtual Awaitable<Error> write(std::string_view bytes) = 0;
  /// Says goodbye: nothing will be written any more.
  virtual Awaitable<void> end() = 0;
  /// Operations under way fail.
  virtual void close() = 0;

  /// Calls `on_gone` once if the other side goes away while nothing is read; unwatch() before the
  /// next read.
  virtual void watch(std::function<void()> on_gone) = 0;
  virtual void unwatch() = 0;
  /// Whether watch() has found bytes of the other side, and so cannot tell when it goes.
  virtual bool is_watch_blind() const = 0;
  /// Whether the other side has gone, be there unread bytes of it or not. A system call.
  virtual bool has_ended_unread() const = 0;
};

std::unique_ptr<ByteStream> make_plain_stream(StreamSocket socket);
std::unique_ptr<ByteStream> make_tls_stream(StreamSocket socket,
                                            std::shared_ptr<boost::asio::ssl::context> context);

}  // namespace dsl::serving
