// Forms steps: which rows of which sequences run together, and which cache blocks they use.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <vector>

#include "engine/scheduler/block_allocator.h"
#include "engine/scheduler/step_plan.h"
#include "transport/base/error.h"

namespace dsl::scheduler {

struct SchedulerOptions {
  std::int64_t max_batch_tokens = 256;  // rows of one step
  std::int64_t block_tokens = 32;
  std::int64_t num_blocks = 0;
  int micro_batches = 1;  // steps in flight at once: the pipeline's stages
};

/// Continuous batching: a step takes one row of every decoding sequence that is not in flight, then
/// chunks of prompts up to max_batch_tokens. Sequences are admitted first come, first served, when
/// blocks for their known tokens are free. When blocks run out, the youngest sequence gives its
/// blocks up and is computed again later.
///
/// Decoding sequences are dealt over the micro-batches so that every pipeline stage has work; a
/// sequence that waits for its next token is in one step at a time. Chunks of a prompt may follow
/// each other through the pipeline. Thread-compatible; knows no tensors and no clock.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  /// Queues a sequence that will grow to at most `max_tokens` tokens; kOutOfMemory when the cache
  /// can never hold that.
  Status add(SequenceStart sequence, std::int64_t max_tokens);
  /// Takes a sequence out (finished or cancelled); a result still in flight will be ignored.
  /// Unknown ids are allowed.
  void remove(SequenceId id);

  /// The next step, or nothing when no sequence can run before a result arrives.
  std::optional<StepPlan> next_plan();
  /// Appends the token that a step gave a sequence, which may then go on. Unknown ids are allowed.
  void append(SequenceId id, std::int32_t token_id);

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  std::int64_t num_waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  std::int64_t num_running() const { return static_cast<std::int64_t>(running_.size()); }
  std::int64_t num_free_blocks() const { return blocks_.num_free(); }
  std::int64_t num_preemptions() const { return num_preemptions_; }

 private:
  struct Sequence {
    SequenceStart start;             // token_ids grows with the generated tokens
    std::int64_t num_scheduled = 0;  // tokens whose rows are in a plan already
    std::int64_t num_announced = 0;  // tokens that the ranks know
    std::vector<std::int32_t> block_table;
    std::int64_t num_announced_blocks = 0;
    bool awaits_result = false;

    std::int64_t num_tokens() const { return static_cast<std::int64_t>(start.token_ids.size()); }
    std::int64_t num_unscheduled() const { return num_tokens() - num_scheduled; }
    bool decodes() const {
      return num_unscheduled() <= 1 && num_scheduled >= start.num_prompt_tokens;
    }
  };
  void schedule_decodes(StepPlan& plan);
  void schedule_prompts(StepPlan& plan);
  void admit(StepPlan& plan);
  /// Adds rows of the sequence as far as the step's budget goes; false when blocks are short.
  bool schedule(Sequence& sequence, StepPlan& plan);
  bool reserve_blocks(Sequence& sequence, std::int64_t num_tokens, const StepPlan& plan);
  bool preempt_younger_than(const Sequence& sequence, const StepPlan& plan);
  /// Blocks that running sequences have yet to take for the tokens they know.
  std::int64_t num_promised_blocks() const;
  std::int64_t blocks_for(std::int64_t num_tokens) const;
  std::int64_t budget(const StepPlan& plan) const {
    return options_.max_batch_tokens - plan.num_rows();
  }

  SchedulerOptions options_;
  BlockAllocator blocks_;
  std::uint64_t next_step_ = 0;
  std::deque<Sequence> waiting_;
  std::list<Sequence> running_;  // oldest first; a list, so that references survive a preemption
  std::vector<SequenceId> to_release_;  // announced with the next plan
  std::int64_t num_preemptions_ = 0;
};

}  // namespace dsl::scheduler
