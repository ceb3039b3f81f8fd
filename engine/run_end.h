// Why a rank ends, and that it does.
#pragma once

#include <atomic>
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
  void wait();

  /// From now on there are answers to finish: the end is orderly. Before, it is immediate.
  void mark_serving() { is_serving_ = true; }

 private:
  void enforce() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;           // guarded by mutex_
  std::optional<Error> failure_;  // guarded by mutex_
  std::atomic<bool> is_serving_{false};
};

}  // namespace dsl
