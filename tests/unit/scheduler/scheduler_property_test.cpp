// The scheduler and the ranks' sequence table against a model of the cache: whatever arrives, is
// cancelled or is short, every sequence gets the tokens that it gets alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>

#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/sequence_table.h"

namespace dsl::scheduler {
namespace {

constexpr std::int64_t kPropertyBlockTokens = 4;
constexpr std::int32_t kVocabulary = 1000;

/// What a position's cached value depends on: the value before it, its token and the token's form.
std::uint64_t value_after(std::uint64_t before, std::int32_t token_id, bool is_prompt) {
  std::uint64_t value = before * 6364136223846793005u + static_cast<std::uint64_t>(token_id) * 2 +
                        (is_prompt ? 1 : 0) + 1442695040888963407u;
  return value ^ (value >> 29);
}

std::int32_t token_after(std::uint64_t value) {
  return static_cast<std::int32_t>((value >> 20) % kVocabulary);
}

struct Wish {
  SequenceStart start;
  SequenceTerms terms;
  std::size_t num_new = 0;
};

/// The answer of a sequence that runs alone.
std::vector<std::int32_t> answer_of(const Wish& wish) {
  std::uint64_t value = 0;
  std::vector<std::int32_t> ids = wish.start.token_ids;
  const std::size_t known = ids.size();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    value = value_after(value, ids[i], static_cast<std::int64_t>(i) < wish.start.num_prompt_tokens);
    if (i + 1 == ids.size() && ids.size() < known + wish.num_new) ids.push_back(token_after(value));
  }
  return {ids.begin() + static_cast<std::ptrdiff_t>(known), ids.end()};
}

/// One rank: applies plans in order and computes their rows from what its cache holds.
class ModelRank {
 public:
  ModelRank(std::int64_t max_batch_tokens, std::int64_t num_blocks)
      : table_({max_batch_tokens, kPropertyBlockTokens, num_blocks, kVocabulary}),
        cache_(static_cast<std::size_t>(num_blocks * kPropertyBlockTokens)) {}

  struct Token {
    SequenceId id{};
    std::int32_t token_id = 0;
  };
  std::vector<Token> run(const StepPlan& plan) {
    std::vector<Token> tokens;
    const auto decoded = decode_step_plan(encode(plan));
    EXPECT_TRUE(decoded.has_value());
    const auto rows = table_.apply(*decoded);
    EXPECT_TRUE(rows.has_value()) << rows.error().to_string();
    if (!rows) return tokens;
    const std::set<std::int64_t> slots(rows->slots.begin(), rows->slots.end());
    EXPECT_EQ(slots.size(), rows->slots.size()) << "two rows write to one slot";
    for (std::size_t i = 0; i < rows->segments.size(); ++i) {
      const StepSegment& segment = rows->segments[i];
      for (std::int64_t row = segment.first_row; row < segment.first_row + segment.num_rows;
           ++row) {
        compute(*segment.sequence, rows->positions[static_cast<std::size_t>(row)],
                segment.is_prompt);
      }
      const auto& sequence = *segment.sequence;
      if (sequence.goal == SequenceGoal::kScore)
        num_scored_[plan.segments[i].id] += segment.num_rows;
      if (!segment.ends_known_tokens) continue;
      tokens.push_back({plan.segments[i].id, token_after(at(sequence, sequence.num_computed - 1))});
    }
    return tokens;
  }
  std::int64_t num_scored(SequenceId id) { return num_scored_[id]; }

 private:
  std::uint64_t& at(const TrackedSequence& sequence, std::int64_t position) {
    const std::int64_t block =
        sequence.block_table.at(static_cast<std::size_t>(position / kPropertyBlockTokens));
    return cache_.at(
        static_cast<std::size_t>(block * kPropertyBlockTokens + position % kPropertyBlockTokens));
  }
  void compute(const TrackedSequence& sequence, std::int64_t position, bool is_prompt) {
    const std::uint64_t before = position == 0 ? 0 : at(sequence, position - 1);
    at(sequence, position) =
        value_after(before, sequence.token_ids[static_cast<std::size_t>(position)], is_prompt);
  }

  SequenceTable table_;
  std::vector<std::uint64_t> cache_;
  std::map<SequenceId, std::int64_t> num_scored_;
};

/// Prompts that share beginnings, some with tokens that were generated before.
Wish random_wish(std::mt19937& random, std::uint64_t id, std::int64_t max_tokens) {
  Wish wish;
  wish.start.id = SequenceId{id};
  const auto below = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(limit));
  };
  const std::int64_t known = 1 + below(std::min<std::int64_t>(24, max_tokens - 8));
  const std::int32_t family = static_cast<std::int32_t>(below(3));
  const std::int64_t shared = below(24);
  for (std::int64_t i = 0; i < known; ++i) {
    wish.start.token_ids.push_back(i < shared ? family * 100 + static_cast<std::int32_t>(i)
                                              : static_cast<std::int32_t>(below(kVocabulary)));
  }
  wish.start.num_prompt_tokens =
      known - std::min<std::int64_t>(known - 1, below(4) == 0 ? below(8) : 0);
  wish.num_new = static_cast<std::size_t>(1 + below(8));
  if (below(8) == 0) {
    wish.start.goal = SequenceGoal::kScore;
    wish.start.num_prompt_tokens = known;
    wish.num_new = 0;
  }
  wish.terms = {known + static_cast<std::int64_t>(wish.num_new), static_cast<int>(below(3)) - 1,
                std::string(1, static_cast<char>('a' + below(3)))};
  return wish;
}

struct Load {
  std::int64_t max_batch_tokens = 1;
  std::int64_t num_blocks = 8;
  int micro_batches = 1;
  bool prefix_cache = true;
  std::uint32_t seed = 0;
};

SchedulerCounts run_load(const Load& load) {
  std::mt19937 random(load.seed);
  Scheduler scheduler({load.max_batch_tokens, kPropertyBlockTokens, load.num_blocks,
                       load.micro_batches, load.prefix_cache});
  ModelRank rank(load.max_batch_tokens, load.num_blocks);
  constexpr std::uint64_t kSequences = 20;
  std::map<SequenceId, Wish> wishes;
  std::map<SequenceId, std::vector<std::int32_t>> answers;
  std::set<SequenceId> open;
  std::set<SequenceId> cancelled;
  std::deque<std::vector<ModelRank::Token>> in_flight;
  std::uint64_t next_id = 1;
  int steps = 0;
  while (next_id <= kSequences || scheduler.has_work()) {
    if (++steps > 20000) {
      ADD_FAILURE() << "a sequence starves";
      break;
    }
    if (next_id <= kSequences && (random() % 3 == 0 || !scheduler.has_work())) {
      const Wish wish = random_wish(random, next_id++, load.num_blocks * kPropertyBlockTokens);
      EXPECT_TRUE(scheduler.add(wish.start, wish.terms).has_value());
      open.insert(wish.start.id);
      wishes[wish.start.id] = wish;
    }
    if (!open.empty() && random() % 40 == 0) {
      const SequenceId id =
          *std::next(open.begin(), static_cast<std::ptrdiff_t>(random() % open.size()));
      scheduler.remove(id);
      cancelled.insert(id);
      open.erase(id);
    }
    const PrefixCache& cache = scheduler.cache();
    EXPECT_EQ(cache.num_free() + cache.num_cached() + cache.num_used(), load.num_blocks);

    std::optional<StepPlan> plan;
    if (in_flight.size() < static_cast<std::size_t>(load.micro_batches)) {
      plan = scheduler.next_plan();
    }
    if (plan) {
      for (const SequenceStart& start : plan->started) {
        const bool may_read = load.prefix_cache && start.goal == SequenceGoal::kGenerate;
        EXPECT_TRUE(may_read || start.cached_blocks.empty());
      }
      in_flight.push_back(rank.run(*plan));
      continue;
    }
    if (in_flight.empty()) {
      if (!scheduler.has_work()) continue;
      ADD_FAILURE() << "nothing can run and nothing is in flight";
      break;
    }
    for (const auto& [id, token_id] : in_flight.front()) {
      if (!open.contains(id)) continue;
      const Wish& wish = wishes.at(id);
      if (wish.start.goal == SequenceGoal::kGenerate) answers[id].push_back(token_id);
      if (answers[id].size() >= wish.num_new) {
        scheduler.remove(id);
        open.erase(id);
      } else {
        scheduler.append(id, token_id);
      }
    }
    in_flight.pop_front();
  }
  for (const auto& [id, wish] : wishes) {
    if (cancelled.contains(id)) continue;
    EXPECT_EQ(answers[id], answer_of(wish)) << "sequence " << static_cast<std::uint64_t>(id);
    if (wish.start.goal == SequenceGoal::kScore) {
      EXPECT_GE(rank.num_scored(id), wish.start.num_prompt_tokens);
    }
  }
  EXPECT_EQ(scheduler.cache().num_used(), 0);
  EXPECT_EQ(scheduler.cache().num_available(), load.num_blocks);
  EXPECT_TRUE(load.prefix_cache || scheduler.cache().num_cached() == 0);
  return scheduler.counts();
}

TEST(SchedulerPropertyTest, EverySequenceGetsWhatItGetsAlone) {
  constexpr std::uint32_t kSeed = 20261124u;
  std::mt19937 random(kSeed);
  SchedulerCounts total;
  for (int round = 0; round < 1000; ++round) {
    Load load;
    load.seed = static_cast<std::uint32_t>(random());
    load.micro_batches = static_cast<int>(1 + random() % 4);
    load.num_blocks = 9 + static_cast<std::int64_t>(random() % 24);
    load.max_batch_tokens = 1 + static_cast<std::int64_t>(random() % 24);
    load.prefix_cache = round % 4 != 0;
    SCOPED_TRACE(testing::Message() << "round " << round << " of seed " << kSeed);
    const SchedulerCounts counts = run_load(load);
    if (HasFailure()) return;
    total.num_preemptions += counts.num_preemptions;
    total.prefix_hits += counts.prefix_hits;
  }
  EXPECT_GT(total.num_preemptions, 100);
  EXPECT_GT(total.prefix_hits, 1000);
}

/// A tenant that floods the queue delays another one's request by its turns, not by its queue.
TEST(SchedulerPropertyTest, FloodOfOneTenantDoesNotStarveAnother) {
  Scheduler scheduler({16, kPropertyBlockTokens, 16, 1, true});
  ModelRank rank(16, 16);
  std::mt19937 random(7);
  std::uint64_t next_id = 1;
  const auto add = [&](const std::string& tenant) {
    SequenceStart start;
    start.id = SequenceId{next_id};
    start.num_prompt_tokens = 8;
    for (int i = 0; i < 8; ++i)
      start.token_ids.push_back(static_cast<std::int32_t>(random() % 900));
    EXPECT_TRUE(scheduler.add(start, {12, 0, tenant}).has_value());
    return next_id++;
  };
  for (int i = 0; i < 500; ++i) add("flood");
  std::map<SequenceId, int> num_tokens;
  std::uint64_t awaited = 0;
  int finished_meanwhile = 0;
  for (int step = 0; step < 200; ++step) {
    const auto plan = scheduler.next_plan();
    ASSERT_TRUE(plan.has_value());
    for (const auto& [id, token_id] : rank.run(*plan)) {
      if (++num_tokens[id] < 4) {
        scheduler.append(id, token_id);
        continue;
      }
      scheduler.remove(id);
      if (static_cast<std::uint64_t>(id) == awaited) {
        EXPECT_LE(finished_meanwhile, 12);
        return;
      }
      finished_meanwhile += awaited != 0 ? 1 : 0;
    }
    if (step == 20) awaited = add("quiet");
  }
  FAIL() << "the request of the quiet tenant never ended";
}

}  // namespace
}  // namespace dsl::scheduler
