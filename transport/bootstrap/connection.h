// One end of a rendezvous connection: frames in and out of a non-blocking socket.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"
#include "transport/bootstrap/frame.h"

namespace dsl::bootstrap {

/// Owns the socket. Thread-compatible.
class Connection {
 public:
  /// `max_frame` bounds what is accepted, in bytes.
  Connection(UniqueFd fd, std::size_t max_frame) : fd_(std::move(fd)), max_frame_(max_frame) {}

  int fd() const { return fd_.get(); }
  void set_max_frame(std::size_t bytes) { max_frame_ = bytes; }

  /// Queues a frame; flush() sends it. kPeerHung when the other end has not read for so long that
  /// too much is queued.
  Status queue(FrameType type, std::string_view payload);
  /// Sends what the socket takes now.
  Status flush();
  bool has_output() const { return !output_.empty(); }
  void drop_output() { output_.clear(); }

  /// Reads what the socket has now. An end of the stream is not an error: at_end() tells.
  Status fill();
  bool at_end() const { return at_end_; }
  /// The next whole frame that fill() has read.
  Result<std::optional<Frame>> next_frame() { return take_frame(input_, max_frame_); }

 private:
  UniqueFd fd_;
  std::size_t max_frame_;
  std::string input_;
  std::string output_;
  bool at_end_ = false;
};

}  // namespace dsl::bootstrap
