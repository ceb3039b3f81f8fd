// Where the engine thread notes what it does, for other threads to read without stopping it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "engine/engine_stats.h"
#include "engine/scheduler/scheduler.h"

namespace dsl::engine {

/// A finished step.
struct StepRecord {
  std::int64_t num_rows = 0;
  bool has_prompt_rows = false;
  std::chrono::steady_clock::duration total{};    // from the plan to its tokens
  std::chrono::steady_clock::duration compute{};  // of this rank
  std::int64_t weight_bytes = 0;                  // of this rank
};

/// One writer, the engine thread, but for begin_request(); any number of readers, which may see
/// parts of an update. Nothing locks or waits. Thread-safe.
class StatsBoard {
 public:
  using Clock = std::chrono::steady_clock;

  StatsBoard(std::int64_t max_waiting, double read_bytes_per_s)
      : max_waiting_(max_waiting), read_bytes_per_s_(read_bytes_per_s) {}

  /// Any thread: there is one request more. From none to one the silence begins anew.
  void begin_request();
  void end_request() { num_open_.fetch_sub(1, std::memory_order_relaxed); }
  /// Something moved.
  void beat() { last_beat_.store(Clock::now().time_since_epoch().count(), kRelaxed); }
  /// Rows that other stages are computing while this rank waits; 0: it computes itself.
  void await_rows(std::int64_t rows) { awaited_rows_.store(rows, kRelaxed); }

  void note(const StepRecord& step);
  /// `num_canaries_*` of the scheduler's sequences are canaries.
  void note(const scheduler::Scheduler& scheduler, std::int64_t num_canaries_running,
            std::int64_t num_canaries_waiting);

  EngineStats snapshot() const;

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  using Count = std::atomic<std::int64_t>;

  static void add(Count& count, std::int64_t value) {
    count.store(count.load(kRelaxed) + value, kRelaxed);
  }
  static void add(Count& nanoseconds, Clock::duration value) {
    add(nanoseconds, std::chrono::nanoseconds(value).count());
  }
  void note_admissions(std::int64_t num_admitted);

  const std::int64_t max_waiting_;
  const double read_bytes_per_s_;

  Count num_open_{0};
  std::atomic<Clock::rep> last_beat_{0};
  Count awaited_rows_{0};

  Count num_running_{0}, num_waiting_{0}, num_preemptions_{0}, prefix_queries_{0}, prefix_hits_{0};
  Count kv_blocks_total_{0}, kv_blocks_used_{0}, kv_blocks_cached_{0};
  Count num_steps_{0}, num_rows_{0}, step_ns_{0};
  std::array<Count, kStepSecondsBounds.size() + 1> step_seconds_{};
  Count weight_bytes_{0}, decode_weight_bytes_{0}, decode_ns_{0};
  std::atomic<double> admissions_per_s_{0};

  // The engine thread's own.
  Clock::time_point window_begin_ = Clock::now();
  std::int64_t admitted_at_window_begin_ = 0;
};

}  // namespace dsl::engine
