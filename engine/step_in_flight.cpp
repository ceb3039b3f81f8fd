#include "engine/step_in_flight.h"

#include "engine/engine_rank.h"

namespace dsl::engine {

StepInFlight::StepInFlight(const scheduler::StepPlan& plan, const scheduler::StepRows& rows)
    : step(plan.step), shapes(results_of(rows).shapes) {
  record.num_rows = plan.num_rows();
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    const auto& segment = rows.segments[i];
    const scheduler::SequenceId id = plan.segments[i].id;
    record.has_prompt_rows = record.has_prompt_rows || segment.is_prompt;
    if (segment.sequence->goal == scheduler::SequenceGoal::kScore) {
      scored.push_back({id, segment.first_position, segment.num_rows, segment.ends_known_tokens});
    } else if (segment.ends_known_tokens) {
      sampled.push_back(id);
    }
  }
}

}  // namespace dsl::engine
