// A reason to stop, told once from any thread to whoever waits.
#pragma once

#include <functional>
#include <mutex>
#include <optional>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Thread-safe. The first reason wins.
class Cancellation {
 public:
  void cancel(Error reason);
  std::optional<Error> reason() const;
  /// Calls `hook` on cancel(), or at once when that has happened. One hook at a time; an empty one
  /// unsubscribes, and then no call is under way any more.
  void set_hook(std::function<void()> hook);

 private:
  mutable std::mutex mutex_;
  std::optional<Error> reason_;
  std::function<void()> hook_;
};

}  // namespace dsl::launcher
