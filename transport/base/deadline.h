// A point in time by which a blocking call must have ended.
#pragma once

#include <algorithm>
#include <chrono>

namespace dsl {

/// Every blocking call takes one. A value; thread-compatible.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline after(Clock::duration duration) { return Deadline(Clock::now() + duration); }
  static Deadline never() { return Deadline(Clock::time_point::max()); }

  bool expired() const { return Clock::now() >= when_; }
  bool is_never() const { return when_ == Clock::time_point::max(); }
  Clock::time_point time_point() const { return when_; }

  /// Time left, at least zero; a day for never(), so that it fits any poll interface.
  std::chrono::milliseconds remaining() const {
    if (is_never()) return std::chrono::hours(24);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(when_ - Clock::now());
    return std::max(left, std::chrono::milliseconds(0));
  }

 private:
  explicit Deadline(Clock::time_point when) : when_(when) {}
  Clock::time_point when_;
};

}  // namespace dsl
