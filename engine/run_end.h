// Why a rank ends, and that it does.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "transport/base/error.h"

namespace dsl {

/// An error, or good order. The first reason counts. After it the process is gone within 4 s,
/// whatever hangs. Detached threads use it: it must live as long as the process. Thread-safe.
class RunEnd {
 public:
  /// What this rank noticed itself; becomes the reason unless a better one comes within a second.
  void suspect(const Error& error);
  void set(std::optional<Error> failure);
  std::optional<Error> failure() const;

  /// Somebody asks for good order. While this rank serves, the first time begins its drain; when
  /// asked once more, or when the drain has taken its time, the rank ends.
  void ask();
  /// From now on there are answers to finish, within `drain_timeout` of the first ask().
  void mark_serving(std::chrono::seconds drain_timeout);

  /// Until the rank is to drain or to end.
  void wait_for_drain();
  void wait();
  /// True when the rank is to end, which may take until then.
  bool wait_for(std::chrono::milliseconds duration);

 private:
  void enforce(std::chrono::seconds patience) const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;                                         // guarded by mutex_
  std::optional<Error> failure_;                                // guarded by mutex_
  bool is_serving_ = false;                                     // guarded by mutex_
  std::chrono::seconds drain_timeout_{0};                       // guarded by mutex_
  std::optional<std::chrono::steady_clock::time_point> asked_;  // guarded by mutex_
};

}  // namespace dsl
