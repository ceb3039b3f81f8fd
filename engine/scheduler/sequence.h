// What the scheduler knows of one sequence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/scheduler/prefix_cache.h"
#include "engine/scheduler/step_plan.h"

namespace dsl::scheduler {

/// How a sequence stands to others. Lower numbers of SequenceId came earlier.
struct SequenceTerms {
  std::int64_t max_tokens = 0;  // of prompt and answer together
  int priority = 0;             // higher ones go first
  std::string tenant = {};      // tenants share the engine equally
};

struct Sequence {
  SequenceStart start;  // token_ids grows with the generated tokens
  SequenceTerms terms;
  std::int64_t num_scheduled = 0;  // tokens whose rows are in a plan already, or were cached
  std::int64_t num_announced = 0;  // tokens that the ranks know
  std::vector<std::int32_t> block_table;
  std::int64_t num_announced_blocks = 0;
  std::int64_t num_published_blocks = 0;
  PrefixNode published_end = PrefixNode::kRoot;
  bool awaits_result = false;

  bool was_preempted = false;
  std::int64_t num_charged = 0;  // tokens that the tenant has paid for

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(start.token_ids.size()); }
  std::int64_t num_unscheduled() const { return num_tokens() - num_scheduled; }
  bool decodes() const {
    return num_unscheduled() <= 1 && num_scheduled >= start.num_prompt_tokens;
  }
  /// Scored sequences want every row computed; what they leave is of no use to others.
  bool is_cacheable() const { return start.goal == SequenceGoal::kGenerate; }
  CachedTokens cached_tokens() const { return {start.token_ids, start.num_prompt_tokens}; }

  /// The order in which sequences keep their blocks.
  bool outranks(const Sequence& other) const {
    if (terms.priority != other.terms.priority) return terms.priority > other.terms.priority;
    return start.id < other.start.id;
  }
};

}  // namespace dsl::scheduler
