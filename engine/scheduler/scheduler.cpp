#include "engine/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

namespace dsl::scheduler {
namespace {

bool contains(const StepPlan& plan, SequenceId id) {
  return std::any_of(plan.segments.begin(), plan.segments.end(),
                     [&](const PlanSegment& segment) { return segment.id == id; });
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), blocks_(options.num_blocks) {}

Status Scheduler::add(SequenceStart sequence, std::int64_t max_tokens) {
  if (blocks_for(max_tokens) > blocks_.num_blocks()) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer tokens or give the engine more kv tokens",
                "a request for up to {} tokens (prompt and answer): the cache holds {}", max_tokens,
                blocks_.num_blocks() * options_.block_tokens);
  }
  Sequence queued;
  queued.start = std::move(sequence);
  waiting_.push_back(std::move(queued));
  return {};
}

void Scheduler::remove(SequenceId id) {
  const auto has_id = [&](const Sequence& sequence) { return sequence.start.id == id; };
  std::erase_if(waiting_, has_id);
  const auto found = std::find_if(running_.begin(), running_.end(), has_id);
  if (found == running_.end()) return;
  // Steps in flight still write to these blocks, but every rank runs them before a plan that reuses
  // the blocks.
  blocks_.release(found->block_table);
  to_release_.push_back(id);
  running_.erase(found);
}

std::optional<StepPlan> Scheduler::next_plan() {
  StepPlan plan;
  schedule_decodes(plan);
  schedule_prompts(plan);
  admit(plan);
  if (plan.segments.empty()) return std::nullopt;
  plan.step = next_step_++;
  plan.released = std::exchange(to_release_, {});
  return plan;
}

void Scheduler::append(SequenceId id, std::int32_t token_id) {
  for (Sequence& sequence : running_) {
    if (sequence.start.id != id) continue;
    sequence.start.token_ids.push_back(token_id);
    sequence.awaits_result = false;
  }
}

void Scheduler::schedule_decodes(StepPlan& plan) {
  const auto num_decoding = std::count_if(running_.begin(), running_.end(),
                                          [](const Sequence& s) { return s.decodes(); });
  std::int64_t share = (num_decoding + options_.micro_batches - 1) / options_.micro_batches;
  for (auto it = running_.begin(); it != running_.end() && share > 0 && budget(plan) > 0; ++it) {
    if (!it->decodes() || it->awaits_result) continue;
    if (schedule(*it, plan)) --share;
  }
}

void Scheduler::schedule_prompts(StepPlan& plan) {
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    // A second segment follows where the prompt ends and tokens that were generated before begin.
    while (!it->decodes() && it->num_unscheduled() > 0 && budget(plan) > 0) {
      if (!schedule(*it, plan)) break;
    }
  }
}

void Scheduler::admit(StepPlan& plan) {
  while (!waiting_.empty() && budget(plan) > 0) {
    const std::int64_t needed = blocks_for(waiting_.front().num_tokens() + 1);
    const bool fits = needed <= blocks_.num_free() - num_promised_blocks();
    if (!fits && !running_.empty()) return;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    Sequence& sequence = running_.back();
    sequence.num_announced = sequence.num_tokens();
    plan.started.push_back(sequence.start);
    while (sequence.num_unscheduled() > 0 && budget(plan) > 0) {
      const bool scheduled = schedule(sequence, plan);
      DSL_CHECK(scheduled, "an admitted sequence of {} tokens finds {} free blocks",
                sequence.num_tokens(), blocks_.num_free());
    }
  }
}

bool Scheduler::schedule(Sequence& sequence, StepPlan& plan) {
  const std::int64_t first = sequence.num_scheduled;
  const std::int64_t prompt = sequence.start.num_prompt_tokens;
  const std::int64_t same_kind = first < prompt ? prompt : sequence.num_tokens();
  const std::int64_t rows = std::min(budget(plan), same_kind - first);
  if (!reserve_blocks(sequence, first + rows, plan)) return false;

  PlanSegment segment;
  segment.id = sequence.start.id;
  segment.num_rows = rows;
  const auto& tokens = sequence.start.token_ids;
  segment.new_token_ids.assign(tokens.begin() + sequence.num_announced, tokens.end());
  segment.new_blocks.assign(sequence.block_table.begin() + sequence.num_announced_blocks,
                            sequence.block_table.end());
  sequence.num_announced = sequence.num_tokens();
  sequence.num_announced_blocks = static_cast<std::int64_t>(sequence.block_table.size());
  sequence.num_scheduled += rows;
  segment.ends_known_tokens = sequence.num_unscheduled() == 0;
  sequence.awaits_result = segment.ends_known_tokens;
  plan.segments.push_back(std::move(segment));
  return true;
}

bool Scheduler::reserve_blocks(Sequence& sequence, std::int64_t num_tokens, const StepPlan& plan) {
  const std::int64_t needed =
      blocks_for(num_tokens) - static_cast<std::int64_t>(sequence.block_table.size());
  while (blocks_.num_free() < needed) {
    if (!preempt_younger_than(sequence, plan)) return false;
  }
  for (std::int64_t i = 0; i < needed; ++i) sequence.block_table.push_back(blocks_.allocate());
  return true;
}

bool Scheduler::preempt_younger_than(const Sequence& sequence, const StepPlan& plan) {
  for (auto victim = std::prev(running_.end()); &*victim != &sequence; --victim) {
    if (victim->awaits_result || contains(plan, victim->start.id)) continue;
    blocks_.release(victim->block_table);
    to_release_.push_back(victim->start.id);
    Sequence again;
    again.start = std::move(victim->start);
    waiting_.push_front(std::move(again));
    running_.erase(victim);
    ++num_preemptions_;
    return true;
  }
  return false;
}

std::int64_t Scheduler::num_promised_blocks() const {
  std::int64_t promised = 0;
  for (const Sequence& sequence : running_) {
    promised +=
        std::max<std::int64_t>(0, blocks_for(sequence.num_tokens() + 1) -
                                      static_cast<std::int64_t>(sequence.block_table.size()));
  }
  return promised;
}

std::int64_t Scheduler::blocks_for(std::int64_t num_tokens) const {
  return (num_tokens + options_.block_tokens - 1) / options_.block_tokens;
}

}  // namespace dsl::scheduler
