// Whether a rank's steps advance: noted by its engine thread, read by any other.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace dsl {

/// One writer, any number of readers, which may see parts of an update. Thread-safe.
class RankPulse {
 public:
  struct Reading {
    std::int64_t num_steps = 0;  // that have ended
    bool is_in_step = false;
    double silence_s = 0;  // in a step: since something moved
  };

  void begin_step() {
    beat();
    is_in_step_.store(true, kRelaxed);
  }
  /// Something moved.
  void beat() { last_beat_.store(Clock::now().time_since_epoch().count(), kRelaxed); }
  void end_step() {
    num_steps_.store(num_steps_.load(kRelaxed) + 1, kRelaxed);
    is_in_step_.store(false, kRelaxed);
  }

  Reading read() const {
    Reading reading;
    reading.num_steps = num_steps_.load(kRelaxed);
    reading.is_in_step = is_in_step_.load(kRelaxed);
    const Clock::time_point last_beat{Clock::duration(last_beat_.load(kRelaxed))};
    if (reading.is_in_step) {
      reading.silence_s = std::chrono::duration<double>(Clock::now() - last_beat).count();
    }
    return reading;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kRelaxed = std::memory_order_relaxed;

  std::atomic<std::int64_t> num_steps_{0};
  std::atomic<bool> is_in_step_{false};
  std::atomic<Clock::rep> last_beat_{0};
};

}  // namespace dsl
