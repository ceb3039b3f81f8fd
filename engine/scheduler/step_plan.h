// What all ranks do in one step, as rank 0 decides and broadcasts it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sampling/sampler.h"
#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::scheduler {

enum class SequenceId : std::uint64_t {};

/// What a sequence asks of the model.
enum class SequenceGoal : std::uint8_t {
  kGenerate,  // a token after the last position
  kScore,     // the logits of every position
};

/// A sequence enters the ranks' tables with all its tokens so far. They are computed from the first
/// position behind its cached blocks.
struct SequenceStart {
  SequenceId id{};
  SequenceGoal goal = SequenceGoal::kGenerate;
  std::int64_t num_prompt_tokens = 0;  // the rest of token_ids was generated
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t>
      cached_blocks;  // the first of its block table; earlier plans filled them
  sampling::SamplingParams sampling;
};

/// Consecutive rows of one sequence; either all of its prompt or all generated.
struct PlanSegment {
  SequenceId id{};
  std::int64_t num_rows = 0;                // from the sequence's next uncomputed position
  std::vector<std::int32_t> new_token_ids;  // appended to the sequence before its rows are taken
  std::vector<std::int32_t> new_blocks;     // appended to the sequence's block table
  bool ends_known_tokens = false;           // its last row's logits give the next token
};

enum class StepKind : std::uint8_t { kRun, kShutdown };

/// Applied in the order of the fields. Ranks execute plans in the order of `step`, which counts
/// from 0 without gaps.
struct StepPlan {
  StepKind kind = StepKind::kRun;
  std::uint64_t step = 0;
  std::vector<SequenceId> released;
  std::vector<SequenceStart> started;
  std::vector<PlanSegment> segments;

  std::int64_t num_rows() const;
};

std::vector<std::byte> encode(const StepPlan& plan);
/// A malformed message is kProtocol. Whether the plan fits the sequences is SequenceTable's to
/// check.
Result<StepPlan> decode_step_plan(ConstBytes bytes);

}  // namespace dsl::scheduler
