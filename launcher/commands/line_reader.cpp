#include "launcher/commands/line_reader.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxPending = 16 << 20;  // a longer line is no question

}  // namespace

LineReader::LineReader() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void LineReader::wake() const { ::eventfd_write(wake_.get(), 1); }

std::optional<std::string> LineReader::take_line(bool at_end) {
  const std::size_t end = pending_.find('\n');
  if (end == std::string::npos && (!at_end || pending_.empty())) return std::nullopt;
  std::string line = pending_.substr(0, end);
  pending_.erase(0, end == std::string::npos ? end : end + 1);
  return line;
}

std::optional<std::string> LineReader::next() {
  while (true) {
    if (auto line = take_line(ended_ || pending_.size() > kMaxPending)) return line;
    if (ended_) return std::nullopt;
    pollfd polled[] = {{STDIN_FILENO, POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0 && errno != EINTR) return std::nullopt;
    if ((polled[1].revents & POLLIN) != 0) return std::nullopt;
    if (polled[0].revents == 0) continue;
    char buffer[4096];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) {
      ended_ = true;
    } else {
      pending_.append(buffer, static_cast<std::size_t>(got));
    }
  }
}

}  // namespace dsl::launcher
