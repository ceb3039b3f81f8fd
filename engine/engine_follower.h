// The loop of every rank but 0: take plans in order and run them.
#pragma once

#include <deque>
#include <memory>

#include "engine/engine_messages.h"
#include "engine/engine_rank.h"
#include "engine/scheduler/step_plan.h"

namespace dsl::engine {

/// Lane of the tokens channel on which a follower tells rank 0 that it ends in good order.
inline constexpr std::uint8_t kFarewellLane = 2;
inline constexpr std::size_t kFarewellBytes = 1;
/// Lanes of the tokens channel for a step's tokens and for scored rows, which are numbered over all
/// steps.
inline constexpr std::uint8_t kTokensLane = 0;
inline constexpr std::uint8_t kScoredRowsLane = 1;

/// Non-owning: the worker must outlive it. Thread-compatible.
class Follower {
 public:
  explicit Follower(RankWorker& worker) : worker_(worker), wire_(*worker.parts().wire) {}

  /// Runs steps until rank 0 says that it was the last (ok) or the world fails.
  Status run();

 private:
  Status take_plan();
  Status look_ahead();
  Status run_step(const scheduler::StepPlan& plan);
  Status send_scored_row(std::span<const float> row);
  Status say_farewell();

  RankWorker& worker_;
  wire::Wire& wire_;
  std::optional<PlanReceiver> receiver_;
  std::deque<scheduler::StepPlan> plans_;  // received and not yet run: at most the next one
  bool last_plan_received_ = false;
  std::uint64_t num_scored_rows_ = 0;
};

}  // namespace dsl::engine
