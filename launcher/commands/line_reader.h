// Lines of standard input, waited for so that a signal can end the wait.
#pragma once

#include <optional>
#include <string>

#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// Thread-compatible but for wake().
class LineReader {
 public:
  LineReader();

  /// The next line without its break; none at the end of the input or after wake().
  std::optional<std::string> next();
  /// Ends the wait of next(), now and later. From any thread.
  void wake() const;

 private:
  std::optional<std::string> take_line(bool at_end);

  UniqueFd wake_;
  std::string pending_;
  bool ended_ = false;
};

}  // namespace dsl::launcher
