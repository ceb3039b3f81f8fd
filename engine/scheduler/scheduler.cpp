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
    : options_(options), cache_(options.num_blocks, options.block_tokens) {}

Status Scheduler::add(SequenceStart sequence, SequenceTerms terms) {
  if (blocks_for(terms.max_tokens) > cache_.num_blocks()) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer tokens or give the engine more kv tokens",
                "a request for up to {} tokens (prompt and answer): the cache holds {}",
                terms.max_tokens, cache_.num_blocks() * options_.block_tokens);
  }
  Sequence queued;
  queued.start = std::move(sequence);
  queued.terms = std::move(terms);
  waiting_.push(std::move(queued));
  return {};
}

void Scheduler::remove(SequenceId id) {
  if (waiting_.erase(id)) return;
  const auto found = std::find_if(running_.begin(), running_.end(), [&](const Sequence& sequence) {
    return sequence.start.id == id;
  });
  if (found == running_.end()) return;
  // Steps in flight still write to these blocks, but every rank runs them before a plan that reuses
  // the blocks.
  cache_.release(found->block_table);
  to_release_.push_back(id);
  waiting_.leave(found->terms.tenant);
  running_.erase(found);
}

std::optional<StepPlan> Scheduler::next_plan() {
  StepPlan plan;
  schedule_decodes(plan);
  schedule_prompts(plan);
  admit(plan);
  if (plan.segments.empty()) return std::nullopt;
  if (options_.prefix_cache) publish_blocks();
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
  const std::int64_t max_running = std::max<std::int64_t>(1, options_.max_batch_tokens / 2);
  while (!waiting_.empty() && budget(plan) > 0 && num_running() < max_running) {
    const Sequence& next = *waiting_.front();
    PrefixMatch cached = match(next);
    const auto num_cached_blocks = static_cast<std::int64_t>(cached.blocks.size());
    const std::int64_t needed = blocks_for(next.num_tokens() + 1) - num_cached_blocks;
    const bool fits = needed <= cache_.num_available() - num_promised_blocks();
    if (!fits && !running_.empty()) return cache_.release(cached.blocks);

    Sequence admitted = waiting_.pop();
    admitted.num_announced = admitted.num_tokens();
    admitted.num_scheduled = num_cached_blocks * options_.block_tokens;
    admitted.num_announced_blocks = admitted.num_published_blocks = num_cached_blocks;
    admitted.published_end = cached.end;
    admitted.block_table = std::move(cached.blocks);
    // What was cached costs nobody anything.
    admitted.num_charged = std::max(admitted.num_charged, admitted.num_scheduled);
    count_admission(admitted);
    plan.started.push_back(admitted.start);
    plan.started.back().cached_blocks = admitted.block_table;

    const auto place = std::find_if(running_.begin(), running_.end(), [&](const Sequence& other) {
      return admitted.outranks(other);
    });
    Sequence& sequence = *running_.insert(place, std::move(admitted));
    while (sequence.num_unscheduled() > 0 && budget(plan) > 0) {
      const bool scheduled = schedule(sequence, plan);
      DSL_CHECK(scheduled, "an admitted sequence of {} tokens finds {} blocks",
                sequence.num_tokens(), cache_.num_available());
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
  charge(sequence);
  return true;
}

void Scheduler::charge(Sequence& sequence) {
  // A tenant does not pay twice for rows that a preemption made the engine compute again.
  const std::int64_t tokens = sequence.num_scheduled - sequence.num_charged;
  if (tokens <= 0) return;
  waiting_.charge(sequence.terms.tenant, tokens);
  sequence.num_charged = sequence.num_scheduled;
}

bool Scheduler::reserve_blocks(Sequence& sequence, std::int64_t num_tokens, const StepPlan& plan) {
  const std::int64_t needed =
      blocks_for(num_tokens) - static_cast<std::int64_t>(sequence.block_table.size());
  while (cache_.num_available() < needed) {
    if (!preempt_for(sequence, plan)) return false;
  }
  for (std::int64_t i = 0; i < needed; ++i) sequence.block_table.push_back(cache_.allocate());
  return true;
}

bool Scheduler::preempt_for(const Sequence& sequence, const StepPlan& plan) {
  for (auto victim = std::prev(running_.end()); &*victim != &sequence; --victim) {
    if (victim->awaits_result || contains(plan, victim->start.id)) continue;
    cache_.release(victim->block_table);
    to_release_.push_back(victim->start.id);
    Sequence again;
    again.start = std::move(victim->start);
    again.terms = std::move(victim->terms);
    again.was_preempted = true;
    again.num_charged = victim->num_charged;
    waiting_.restore(std::move(again));
    running_.erase(victim);
    ++counts_.num_preemptions;
    return true;
  }
  return false;
}

void Scheduler::publish_blocks() {
  for (Sequence& sequence : running_) {
    if (!sequence.is_cacheable()) continue;
    const std::int64_t num_full = sequence.num_scheduled / options_.block_tokens;
    for (auto& index = sequence.num_published_blocks; index < num_full; ++index) {
      sequence.published_end = cache_.publish(sequence.published_end,
                                              sequence.block_table[static_cast<std::size_t>(index)],
                                              sequence.cached_tokens(), index);
    }
  }
}

PrefixMatch Scheduler::match(const Sequence& sequence) {
  return cache_.match(sequence.cached_tokens(), cacheable_tokens(sequence));
}

void Scheduler::count_admission(const Sequence& admitted) {
  if (admitted.was_preempted) return;
  ++counts_.num_admitted;
  counts_.prefix_queries += cacheable_tokens(admitted);
  counts_.prefix_hits += admitted.num_scheduled;
}

std::int64_t Scheduler::cacheable_tokens(const Sequence& sequence) const {
  if (!options_.prefix_cache || !sequence.is_cacheable()) return 0;
  return (sequence.num_tokens() - 1) / options_.block_tokens * options_.block_tokens;
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
