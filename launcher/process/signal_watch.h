// SIGINT, SIGTERM and SIGHUP as a callback on an ordinary thread.
#pragma once

#include <functional>
#include <optional>
#include <thread>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// Blocks the signals in the calling thread and all threads made later, so construct it before any.
/// The callback runs on this object's thread, once per signal.
class SignalWatch {
 public:
  explicit SignalWatch(std::function<void(int signal)> on_signal);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  UniqueFd signals_;
  UniqueFd wake_;
  std::thread thread_;
};

/// The error (kCancelled) of work that this signal ended, and how the program then exits: 128 +
/// signal, as shells do.
Error interruption(int signal);
std::optional<int> interruption_exit_code();

}  // namespace dsl::launcher
