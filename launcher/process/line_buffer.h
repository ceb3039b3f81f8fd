// Cuts a stream of bytes into lines of bounded length.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace dsl::launcher {

/// Thread-compatible. A line longer than the limit is delivered in pieces: output of others must
/// not cost memory.
class LineBuffer {
 public:
  explicit LineBuffer(std::size_t max_line_bytes) : max_line_bytes_(max_line_bytes) {}

  /// Calls `on_line` with every line that `bytes` completes, without its line break.
  void feed(std::string_view bytes, const std::function<void(std::string_view)>& on_line);
  /// Delivers what is left without a line break.
  void finish(const std::function<void(std::string_view)>& on_line);

 private:
  std::size_t max_line_bytes_;
  std::string pending_;
};

}  // namespace dsl::launcher
