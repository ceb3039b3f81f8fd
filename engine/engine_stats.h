// What an engine says of itself while it runs.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace dsl {

inline double to_seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

/// Upper bounds of the buckets of step times, in seconds; one further bucket holds longer steps.
inline constexpr std::array<double, 14> kStepSecondsBounds{
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

/// A snapshot of rank 0. Counts are since the start; the canary is in none of the first six.
struct EngineStats {
  std::int64_t num_running = 0;
  std::int64_t num_waiting = 0;
  std::int64_t max_waiting = 0;
  std::int64_t num_preemptions = 0;
  std::int64_t prefix_queries = 0;  // tokens that another request might have cached
  std::int64_t prefix_hits = 0;     // tokens that were

  std::int64_t kv_blocks_total = 0;
  std::int64_t kv_blocks_used = 0;    // by running requests
  std::int64_t kv_blocks_cached = 0;  // by nobody, kept for their prefixes
  double admissions_per_s = 0;        // of late: requests that left the queue

  std::int64_t num_steps = 0;
  std::int64_t num_rows = 0;
  /// From the plan to the tokens of the last stage.
  std::array<std::int64_t, kStepSecondsBounds.size() + 1> step_seconds{};
  double step_seconds_sum = 0;

  /// Stored bytes of the distinct weights that this rank's steps touched, embedding rows left out.
  std::int64_t weight_bytes = 0;
  /// Of these, by steps without prompt rows, and the time that these took on this rank.
  std::int64_t decode_weight_bytes = 0;
  double decode_seconds = 0;
  double read_bytes_per_s = 0;  // of this rank's threads, measured at start; 0: not measured

  /// While there is work: how long nothing has moved, and how long that may be.
  std::chrono::milliseconds silence{0};
  std::chrono::milliseconds patience{0};
  bool is_busy = false;

  bool is_stuck() const { return silence > patience; }
};

}  // namespace dsl
