// How a process of a deployment begins: the signals that ask it to end, and its limits.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>

namespace dsl::serving {

/// SIGTERM and SIGINT, blocked in the thread that makes this and in all that it makes later, so
/// that they wait for whoever asks here.
class EndingSignals {
 public:
  EndingSignals();

  /// The number of the next signal.
  int wait() const;
  /// The same; nothing when none comes in this time.
  std::optional<int> wait_for(std::chrono::nanoseconds duration) const;

 private:
  sigset_t signals_;
};

/// Call it before there are other threads: blocks the signals, makes a write to a closed connection
/// an error and not a signal, and allows as many connections as the system does.
EndingSignals prepare_process();

}  // namespace dsl::serving
