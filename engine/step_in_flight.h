// A step that rank 0 has launched, until its results are delivered.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/engine_messages.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/step_result.h"
#include "engine/stats_board.h"

namespace dsl::engine {

/// Rows of one scored sequence in a step.
struct ScoredRows {
  scheduler::SequenceId id{};
  std::int64_t first_position = 0;
  std::int64_t num_rows = 0;
  bool is_last = false;  // up to the end of the sequence
};

struct StepInFlight {
  StepInFlight(const scheduler::StepPlan& plan, const scheduler::StepRows& rows);

  std::uint64_t step = 0;
  StepRecord record;
  StatsBoard::Clock::time_point begin;
  std::vector<scheduler::SequenceId> sampled;  // in the order of shapes
  std::vector<scheduler::ResultShape> shapes;
  std::vector<ScoredRows> scored;
  std::vector<sampling::SampledToken> tokens;   // when this rank samples
  std::optional<PostedReceive> tokens_receive;  // when another rank samples
};

}  // namespace dsl::engine
