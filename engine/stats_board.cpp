#include "engine/stats_board.h"

#include <algorithm>

#include "engine/engine_rank.h"

namespace dsl::engine {
namespace {

/// A beat comes at least with every layer, so this is long for one layer of one rank.
constexpr auto kPatience = std::chrono::seconds(3);
constexpr auto kAdmissionWindow = std::chrono::seconds(1);

}  // namespace

void StatsBoard::begin_request() {
  if (num_open_.fetch_add(1, kRelaxed) == 0) beat();
}

void StatsBoard::note(const StepRecord& step) {
  beat();
  add(num_steps_, 1);
  add(num_rows_, step.num_rows);
  add(step_ns_, step.total);
  const auto* bucket = std::lower_bound(kStepSecondsBounds.begin(), kStepSecondsBounds.end(),
                                        to_seconds(step.total));
  add(step_seconds_[static_cast<std::size_t>(bucket - kStepSecondsBounds.begin())], 1);
  add(weight_bytes_, step.weight_bytes);
  if (step.has_prompt_rows) return;
  add(decode_weight_bytes_, step.weight_bytes);
  add(decode_ns_, step.compute);
}

void StatsBoard::note(const scheduler::Scheduler& scheduler, std::int64_t num_canaries_running,
                      std::int64_t num_canaries_waiting) {
  num_running_.store(scheduler.num_running() - num_canaries_running, kRelaxed);
  num_waiting_.store(scheduler.num_waiting() - num_canaries_waiting, kRelaxed);
  const scheduler::SchedulerCounts& counts = scheduler.counts();
  num_preemptions_.store(counts.num_preemptions, kRelaxed);
  prefix_queries_.store(counts.prefix_queries, kRelaxed);
  prefix_hits_.store(counts.prefix_hits, kRelaxed);
  const scheduler::PrefixCache& cache = scheduler.cache();
  kv_blocks_total_.store(cache.num_blocks(), kRelaxed);
  kv_blocks_used_.store(cache.num_used(), kRelaxed);
  kv_blocks_cached_.store(cache.num_cached(), kRelaxed);
  note_admissions(counts.num_admitted);
}

void StatsBoard::note_admissions(std::int64_t num_admitted) {
  const auto now = Clock::now();
  if (now - window_begin_ < kAdmissionWindow) return;
  const double rate = static_cast<double>(num_admitted - admitted_at_window_begin_) /
                      to_seconds(now - window_begin_);
  admissions_per_s_.store((admissions_per_s_.load(kRelaxed) + rate) / 2, kRelaxed);
  window_begin_ = now;
  admitted_at_window_begin_ = num_admitted;
}

EngineStats StatsBoard::snapshot() const {
  EngineStats stats;
  stats.num_running = num_running_.load(kRelaxed);
  stats.num_waiting = num_waiting_.load(kRelaxed);
  stats.max_waiting = max_waiting_;
  stats.num_preemptions = num_preemptions_.load(kRelaxed);
  stats.prefix_queries = prefix_queries_.load(kRelaxed);
  stats.prefix_hits = prefix_hits_.load(kRelaxed);
  stats.kv_blocks_total = kv_blocks_total_.load(kRelaxed);
  stats.kv_blocks_used = kv_blocks_used_.load(kRelaxed);
  stats.kv_blocks_cached = kv_blocks_cached_.load(kRelaxed);
  stats.admissions_per_s = admissions_per_s_.load(kRelaxed);
  stats.num_steps = num_steps_.load(kRelaxed);
  stats.num_rows = num_rows_.load(kRelaxed);
  for (std::size_t i = 0; i < step_seconds_.size(); ++i) {
    stats.step_seconds[i] = step_seconds_[i].load(kRelaxed);
  }
  stats.step_seconds_sum = to_seconds(std::chrono::nanoseconds(step_ns_.load(kRelaxed)));
  stats.weight_bytes = weight_bytes_.load(kRelaxed);
  stats.decode_weight_bytes = decode_weight_bytes_.load(kRelaxed);
  stats.decode_seconds = to_seconds(std::chrono::nanoseconds(decode_ns_.load(kRelaxed)));
  stats.read_bytes_per_s = read_bytes_per_s_;

  stats.is_busy = num_open_.load(kRelaxed) > 0;
  // While other stages compute there is no beat.
  stats.patience = step_patience(kPatience, awaited_rows_.load(kRelaxed));
  if (stats.is_busy) {
    const Clock::time_point last_beat{Clock::duration(last_beat_.load(kRelaxed))};
    stats.silence = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_beat);
  }
  return stats;
}

}  // namespace dsl::engine
