#include "launcher/process/line_buffer.h"

namespace dsl::launcher {

void LineBuffer::feed(std::string_view bytes,
                      const std::function<void(std::string_view)>& on_line) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::size_t room = max_line_bytes_ - pending_.size();
    const bool complete = end != std::string_view::npos && end <= room;
    const std::size_t taken = complete ? end : std::min(bytes.size(), room);
    pending_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken + (complete ? 1 : 0));
    if (!complete && pending_.size() < max_line_bytes_) return;
    if (!pending_.empty() && pending_.back() == '\r') pending_.pop_back();
    on_line(pending_);
    pending_.clear();
  }
}

void LineBuffer::finish(const std::function<void(std::string_view)>& on_line) {
  if (!pending_.empty()) on_line(pending_);
  pending_.clear();
}

}  // namespace dsl::launcher
