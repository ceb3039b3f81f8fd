// A reason to stop, told once from any thread to whoever waits.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Thread-safe. The first reason wins.
class Cancellation {
 public:
  void cancel(Error reason);
  std::optional<Error> reason() const;
  /// Blocks until cancel() or the deadline; then as reason().
  std::optional<Error> wait(Deadline deadline);
  /// Calls `hook` on cancel(), or at once when that has happened. One hook at a time; an empty one
  /// unsubscribes, and then no call is under way any more.
  void set_hook(std::function<void()> hook);

 private:
  mutable std::mutex mutex_;
  std::condition_variable cancelled_;
  std::optional<Error> reason_;
  std::function<void()> hook_;
};

}  // namespace dsl::launcher
