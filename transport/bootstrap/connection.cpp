#include "transport/bootstrap/connection.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace dsl::bootstrap {
namespace {

constexpr std::size_t kMaxQueuedBytes = std::size_t{64} << 20;
constexpr std::size_t kReadBytes = 16384;
constexpr int kReadsPerFill = 16;  // a flood from one connection must not starve the others

}  // namespace

Status Connection::queue(FrameType type, std::string_view payload) {
  if (output_.size() + payload.size() > kMaxQueuedBytes) {
    return fail(ErrorCode::kPeerHung, "", "the other end has left {} bytes unread", output_.size());
  }
  output_ += encode_frame(type, payload);
  return {};
}

Status Connection::flush() {
  while (!output_.empty()) {
    const ssize_t sent = ::send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      output_.erase(0, static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return {};
    } else if (errno != EINTR) {
      return fail(ErrorCode::kPeerLost, "", "send: {}", std::strerror(errno));
    }
  }
  return {};
}

Status Connection::fill() {
  std::array<char, kReadBytes> chunk;
  for (int i = 0; i < kReadsPerFill && !at_end_; ++i) {
    const ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
    if (got > 0) {
      input_.append(chunk.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      at_end_ = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return {};
    } else if (errno != EINTR) {
      return fail(ErrorCode::kPeerLost, "", "receive: {}", std::strerror(errno));
    }
  }
  return {};
}

}  // namespace dsl::bootstrap
