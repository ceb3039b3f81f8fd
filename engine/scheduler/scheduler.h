// Forms steps: which rows of which sequences run together, and which cache blocks they use.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "engine/scheduler/fair_queue.h"
#include "engine/scheduler/prefix_cache.h"
#include "engine/scheduler/sequence.h"
#include "engine/scheduler/step_plan.h"
#include "transport/base/error.h"

namespace dsl::scheduler {

struct SchedulerOptions {
  std::int64_t max_batch_tokens = 256;  // rows of one step
  std::int64_t block_tokens = 32;
  std::int64_t num_blocks = 0;
  int micro_batches = 1;  // steps in flight at once: the pipeline's stages
  bool prefix_cache = true;
};

/// Counted since the start.
struct SchedulerCounts {
  std::int64_t num_preemptions = 0;
  std::int64_t num_admitted = 0;    // sequences that left the queue for the first time
  std::int64_t prefix_queries = 0;  // tokens of these that another sequence might have cached
  std::int64_t prefix_hits = 0;     // tokens of these that were found
};

/// Continuous batching: a step takes one row of every decoding sequence that is not in flight, then
/// chunks of prompts up to max_batch_tokens. Waiting sequences are admitted in the order of
/// FairQueue, when blocks for their known tokens are free beyond what others have cached for them.
/// At most half of a step's rows can decode, so that prompts come in beside them. When blocks run
/// out, the sequence of the lowest priority, of these the youngest, gives its blocks up and is
/// computed again later.
///
/// Decoding sequences are dealt over the micro-batches so that every pipeline stage has work; a
/// sequence that waits for its next token is in one step at a time. Chunks of a prompt may follow
/// each other through the pipeline. Thread-compatible; knows no tensors and no clock.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  /// Queues a sequence; kOutOfMemory when the cache can never hold its max_tokens.
  Status add(SequenceStart sequence, SequenceTerms terms);
  /// Takes a sequence out (finished or cancelled); a result still in flight will be ignored.
  /// Unknown ids are allowed.
  void remove(SequenceId id);

  /// The next step, or nothing when no sequence can run before a result arrives.
  std::optional<StepPlan> next_plan();
  /// Appends the token that a step gave a sequence, which may then go on. Unknown ids are allowed.
  void append(SequenceId id, std::int32_t token_id);

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  std::int64_t num_waiting() const { return waiting_.size(); }
  std::int64_t num_running() const { return static_cast<std::int64_t>(running_.size()); }
  const PrefixCache& cache() const { return cache_; }
  const SchedulerCounts& counts() const { return counts_; }

 private:
  void schedule_decodes(StepPlan& plan);
  void schedule_prompts(StepPlan& plan);
  void admit(StepPlan& plan);
  /// Adds rows of the sequence as far as the step's budget goes; false when blocks are short.
  bool schedule(Sequence& sequence, StepPlan& plan);
  void charge(Sequence& sequence);
  bool reserve_blocks(Sequence& sequence, std::int64_t num_tokens, const StepPlan& plan);
  bool preempt_for(const Sequence& sequence, const StepPlan& plan);
  /// Lets later plans match what the plans so far compute.
  void publish_blocks();
  PrefixMatch match(const Sequence& sequence);
  void count_admission(const Sequence& admitted);
  /// Tokens that a sequence may find in the cache: its last known one is computed in any case,
  /// because its logits are wanted.
  std::int64_t cacheable_tokens(const Sequence& sequence) const;
  /// Blocks that running sequences have yet to take for the tokens they know.
  std::int64_t num_promised_blocks() const;
  std::int64_t blocks_for(std::int64_t num_tokens) const;
  std::int64_t budget(const StepPlan& plan) const {
    return options_.max_batch_tokens - plan.num_rows();
  }

  SchedulerOptions options_;
  PrefixCache cache_;
  std::uint64_t next_step_ = 0;
  FairQueue waiting_;
  std::list<Sequence> running_;  // in the order of outranks(); references survive a preemption
  std::vector<SequenceId> to_release_;  // announced with the next plan
  SchedulerCounts counts_;
};

}  // namespace dsl::scheduler
