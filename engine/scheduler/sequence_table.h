// Every rank's mirror of the running sequences: turns a plan into rows with tokens, positions and
// cache slots.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/scheduler/step_plan.h"
#include "transport/base/error.h"

namespace dsl::scheduler {

struct SequenceTableOptions {
  std::int64_t max_batch_tokens = 0;
  std::int64_t block_tokens = 0;
  std::int64_t num_blocks = 0;
  std::int64_t vocab_size = 0;
};

/// What a rank knows of a sequence.
struct TrackedSequence {
  SequenceGoal goal = SequenceGoal::kGenerate;
  std::int64_t num_prompt_tokens = 0;
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t> block_table;
  std::int64_t num_computed = 0;  // positions in the cache after the steps so far
  sampling::SamplingParams sampling;

  std::span<const std::int32_t> prompt() const {
    return std::span(token_ids).first(static_cast<std::size_t>(num_prompt_tokens));
  }
  std::span<const std::int32_t> generated() const {
    return std::span(token_ids).subspan(static_cast<std::size_t>(num_prompt_tokens));
  }
};

/// A segment of a step with its sequence. Non-owning: valid until the next apply().
struct StepSegment {
  const TrackedSequence* sequence = nullptr;
  std::int64_t first_row = 0;
  std::int64_t num_rows = 0;
  std::int64_t first_position = 0;
  bool is_prompt = false;          // else its tokens were generated
  bool ends_known_tokens = false;  // its last row's logits give the next token
};

/// The rows of a step.
struct StepRows {
  std::vector<std::int32_t> token_ids;  // [num_rows]
  std::vector<std::int32_t> positions;  // [num_rows]
  std::vector<std::int64_t> slots;      // [num_rows], block * block_tokens + offset
  std::vector<StepSegment> segments;
};

/// Thread-compatible. The plan comes from another process, so everything in it is checked
/// (kProtocol); after an error the table is not to be used.
class SequenceTable {
 public:
  explicit SequenceTable(const SequenceTableOptions& options) : options_(options) {}

  Result<StepRows> apply(const StepPlan& plan);
  std::size_t size() const { return sequences_.size(); }

 private:
  Status release(SequenceId id);
  Status start(const SequenceStart& start);
  Status extend(const PlanSegment& segment, StepRows& rows);

  SequenceTableOptions options_;
  std::uint64_t next_step_ = 0;
  std::unordered_map<SequenceId, TrackedSequence> sequences_;
};

}  // namespace dsl::scheduler
