#include "engine/scheduler/sequence_table.h"

#include <algorithm>
#include <utility>

namespace dsl::scheduler {
namespace {

template <typename... Args>
tl::unexpected<Error> bad_plan(fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(
      Error{ErrorCode::kProtocol,
            "applying a step plan: " + fmt::format(format, std::forward<Args>(args)...),
            "run the same build on every rank"});
}

bool all_below(const std::vector<std::int32_t>& ids, std::int64_t limit) {
  return std::all_of(ids.begin(), ids.end(),
                     [&](std::int32_t id) { return id >= 0 && id < limit; });
}

std::uint64_t number(SequenceId id) { return static_cast<std::uint64_t>(id); }

}  // namespace

Result<StepRows> SequenceTable::apply(const StepPlan& plan) {
  if (plan.step != next_step_) {
    return bad_plan("expected step {}, found {}", next_step_, plan.step);
  }
  ++next_step_;
  for (const SequenceId id : plan.released) DSL_TRY(release(id));
  for (const SequenceStart& sequence : plan.started) DSL_TRY(start(sequence));
  StepRows rows;
  for (const PlanSegment& segment : plan.segments) DSL_TRY(extend(segment, rows));
  return rows;
}

Status SequenceTable::release(SequenceId id) {
  if (sequences_.erase(id) == 0) return bad_plan("sequence {} is not running", number(id));
  return {};
}

Status SequenceTable::start(const SequenceStart& start) {
  const auto num_tokens = static_cast<std::int64_t>(start.token_ids.size());
  if (start.num_prompt_tokens > num_tokens || num_tokens == 0) {
    return bad_plan("sequence {} has {} prompt tokens of {}", number(start.id),
                    start.num_prompt_tokens, num_tokens);
  }
  if (!all_below(start.token_ids, options_.vocab_size)) {
    return bad_plan("sequence {} has a token outside the vocabulary of {}", number(start.id),
                    options_.vocab_size);
  }
  // At least one row is left to compute; a scored sequence wants all.
  const auto num_cached =
      static_cast<std::int64_t>(start.cached_blocks.size()) * options_.block_tokens;
  if (num_cached >= num_tokens || (num_cached > 0 && start.goal == SequenceGoal::kScore) ||
      !all_below(start.cached_blocks, options_.num_blocks)) {
    return bad_plan("sequence {} of {} tokens starts with {} cached tokens", number(start.id),
                    num_tokens, num_cached);
  }
  DSL_TRY(sampling::validate(start.sampling, options_.vocab_size));
  TrackedSequence tracked;
  tracked.goal = start.goal;
  tracked.num_prompt_tokens = start.num_prompt_tokens;
  tracked.token_ids = start.token_ids;
  tracked.block_table = start.cached_blocks;
  tracked.num_computed = num_cached;
  tracked.sampling = start.sampling;
  if (!sequences_.emplace(start.id, std::move(tracked)).second) {
    return bad_plan("sequence {} runs already", number(start.id));
  }
  return {};
}

Status SequenceTable::extend(const PlanSegment& segment, StepRows& rows) {
  const auto found = sequences_.find(segment.id);
  if (found == sequences_.end()) {
    return bad_plan("sequence {} is not running", number(segment.id));
  }
  TrackedSequence& sequence = found->second;
  if (!all_below(segment.new_token_ids, options_.vocab_size) ||
      !all_below(segment.new_blocks, options_.num_blocks)) {
    return bad_plan("sequence {} gets a token or block that does not exist", number(segment.id));
  }
  sequence.token_ids.insert(sequence.token_ids.end(), segment.new_token_ids.begin(),
                            segment.new_token_ids.end());
  sequence.block_table.insert(sequence.block_table.end(), segment.new_blocks.begin(),
                              segment.new_blocks.end());

  StepSegment added;
  added.sequence = &sequence;
  added.first_row = static_cast<std::int64_t>(rows.token_ids.size());
  added.num_rows = segment.num_rows;
  added.first_position = sequence.num_computed;
  added.is_prompt = sequence.num_computed < sequence.num_prompt_tokens;
  added.ends_known_tokens = segment.ends_known_tokens;

  const auto num_tokens = static_cast<std::int64_t>(sequence.token_ids.size());
  const auto capacity =
      static_cast<std::int64_t>(sequence.block_table.size()) * options_.block_tokens;
  const std::int64_t end = added.first_position + added.num_rows;
  const std::int64_t same_kind_end = added.is_prompt ? sequence.num_prompt_tokens : num_tokens;
  if (added.num_rows < 1 || end > same_kind_end || end > capacity ||
      added.first_row + added.num_rows > options_.max_batch_tokens ||
      added.ends_known_tokens != (end == num_tokens)) {
    return bad_plan(
        "sequence {} gets rows [{}, {}) of {} tokens ({} of the prompt), {} cached, {} rows before",
        number(segment.id), added.first_position, end, num_tokens, sequence.num_prompt_tokens,
        capacity, added.first_row);
  }

  for (std::int64_t position = added.first_position; position < end; ++position) {
    const std::int64_t block =
        sequence.block_table[static_cast<std::size_t>(position / options_.block_tokens)];
    rows.token_ids.push_back(sequence.token_ids[static_cast<std::size_t>(position)]);
    rows.positions.push_back(static_cast<std::int32_t>(position));
    rows.slots.push_back(block * options_.block_tokens + position % options_.block_tokens);
  }
  sequence.num_computed = end;
  rows.segments.push_back(added);
  return {};
}

}  // namespace dsl::scheduler
