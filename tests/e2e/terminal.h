// A program on a terminal of its own, typed at and read by a test.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/unique_fd.h"

namespace dsl::e2e {

/// Leads a session on a pseudo-terminal, so that control characters become signals as they do for a
/// user. Killed when this object goes.
class Terminal {
 public:
  Terminal(const std::vector<std::string>& argv, const std::vector<std::string>& environment);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(std::string_view keys);
  /// Reads until `text` has come after what earlier calls waited for; false when it did not in
  /// time.
  bool shows(std::string_view text, std::chrono::seconds patience = std::chrono::seconds(30));
  /// Everything so far, as the terminal gets it.
  const std::string& screen() const { return screen_; }
  /// Its exit code, reading on meanwhile; 128 + n when signal n ended it, 137 when it did not end.
  int wait(std::chrono::seconds patience);

  /// Whether the terminal works as it did before the program started.
  bool is_as_before() const;

 private:
  /// False when nothing more comes.
  bool read_some(int timeout_ms);

  UniqueFd master_;
  UniqueFd slave_;  // open here too, so that the settings outlive the program
  termios before_ = {};
  pid_t pid_ = 0;
  bool ended_ = false;
  std::string screen_;
  std::size_t seen_ = 0;
};

}  // namespace dsl::e2e
