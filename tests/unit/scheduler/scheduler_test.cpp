#include "engine/scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "engine/scheduler/sequence_table.h"

namespace dsl::scheduler {
namespace {

constexpr std::int64_t kBlockTokens = 4;

SchedulerOptions options(std::int64_t max_batch_tokens, std::int64_t num_blocks,
                         int micro_batches = 1) {
  return {max_batch_tokens, kBlockTokens, num_blocks, micro_batches};
}

SequenceStart sequence(std::uint64_t id, std::int64_t num_prompt, std::int64_t num_emitted = 0) {
  SequenceStart start;
  start.id = SequenceId{id};
  start.num_prompt_tokens = num_prompt;
  start.token_ids.resize(static_cast<std::size_t>(num_prompt + num_emitted));
  std::iota(start.token_ids.begin(), start.token_ids.end(), 1);
  return start;
}

TEST(SchedulerTest, PromptIsCutIntoChunksOfTheBudget) {
  Scheduler scheduler(options(8, 100));
  ASSERT_TRUE(scheduler.add(sequence(1, 20), 24).has_value());
  for (const std::int64_t rows : {8, 8, 4}) {
    const auto plan = scheduler.next_plan();
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->num_rows(), rows);
    EXPECT_EQ(plan->segments.back().ends_known_tokens, rows == 4);
  }
  EXPECT_FALSE(scheduler.next_plan().has_value());
  scheduler.append(SequenceId{1}, 77);
  const auto decode = scheduler.next_plan();
  ASSERT_TRUE(decode.has_value());
  EXPECT_EQ(decode->num_rows(), 1);
  EXPECT_EQ(decode->segments[0].new_token_ids, std::vector<std::int32_t>{77});
}

TEST(SchedulerTest, DecodesGoOnBesideAPrompt) {
  Scheduler scheduler(options(8, 100));
  ASSERT_TRUE(scheduler.add(sequence(1, 2), 10).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  scheduler.append(SequenceId{1}, 3);
  ASSERT_TRUE(scheduler.add(sequence(2, 30), 40).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->segments.size(), 2u);
  EXPECT_EQ(plan->segments[0].num_rows, 1);
  EXPECT_EQ(plan->segments[1].num_rows, 7);
}

TEST(SchedulerTest, EmittedTokensFollowThePromptInTheirOwnSegment) {
  Scheduler scheduler(options(16, 100));
  ASSERT_TRUE(scheduler.add(sequence(1, 5, 3), 20).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->segments.size(), 2u);
  EXPECT_EQ(plan->segments[0].num_rows, 5);
  EXPECT_FALSE(plan->segments[0].ends_known_tokens);
  EXPECT_EQ(plan->segments[1].num_rows, 3);
  EXPECT_TRUE(plan->segments[1].ends_known_tokens);
}

TEST(SchedulerTest, DecodingSequencesAreDealtOverTheMicroBatches) {
  Scheduler scheduler(options(64, 100, 2));
  for (std::uint64_t id = 1; id <= 6; ++id) {
    ASSERT_TRUE(scheduler.add(sequence(id, 2), 20).has_value());
  }
  ASSERT_TRUE(scheduler.next_plan().has_value());
  for (std::uint64_t id = 1; id <= 6; ++id) scheduler.append(SequenceId{id}, 9);
  const auto first = scheduler.next_plan();
  const auto second = scheduler.next_plan();
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(first->segments.size(), 3u);
  EXPECT_EQ(second->segments.size(), 3u);
  EXPECT_FALSE(scheduler.next_plan().has_value());
}

TEST(SchedulerTest, RequestThatCanNeverFitIsRefusedWithTheNumbers) {
  Scheduler scheduler(options(8, 4));
  const auto refused = scheduler.add(sequence(1, 10), 17);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(refused.error().message.find("17"), std::string::npos);
  EXPECT_NE(refused.error().message.find("16"), std::string::npos);
  EXPECT_TRUE(scheduler.add(sequence(1, 10), 16).has_value());
}

TEST(SchedulerTest, RemovedSequenceGivesItsBlocksBack) {
  Scheduler scheduler(options(32, 8));
  ASSERT_TRUE(scheduler.add(sequence(1, 20), 24).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  EXPECT_EQ(scheduler.num_free_blocks(), 3);
  scheduler.remove(SequenceId{1});
  EXPECT_EQ(scheduler.num_free_blocks(), 8);
  ASSERT_TRUE(scheduler.add(sequence(2, 4), 8).has_value());
  EXPECT_EQ(scheduler.next_plan()->released, std::vector<SequenceId>{SequenceId{1}});
}

/// Property: random requests over few blocks and several steps in flight. Every plan fits the
/// ranks' table, no block belongs to two sequences, every sequence ends with the tokens that its
/// history determines, and nothing is lost.
TEST(SchedulerTest, RandomLoadOnFewBlocksEndsWithTheRightTokens) {
  const auto seed = 20261123u;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::int64_t num_preemptions = 0;
  for (int round = 0; round < 200; ++round) {
    const auto micro_batches = static_cast<int>(1 + random() % 4);
    const std::int64_t num_blocks = 12 + static_cast<std::int64_t>(random() % 20);
    const std::int64_t batch = 1 + static_cast<std::int64_t>(random() % 20);
    Scheduler scheduler(options(batch, num_blocks, micro_batches));
    SequenceTable table({batch, kBlockTokens, num_blocks, 1000});
    std::map<std::uint64_t, std::int64_t> remaining;  // tokens to generate
    for (std::uint64_t id = 1; id <= 8; ++id) {
      const auto prompt = 1 + static_cast<std::int64_t>(random() % 20);
      const auto emitted = static_cast<std::int64_t>(random() % 3);
      remaining[id] = 1 + static_cast<std::int64_t>(random() % 20);
      ASSERT_TRUE(scheduler.add(sequence(id, prompt, emitted), prompt + emitted + remaining[id])
                      .has_value());
    }
    struct Result {
      std::uint64_t id;
      std::int32_t token_id;
    };
    std::deque<std::vector<Result>> in_flight;
    int steps = 0;
    while (scheduler.has_work()) {
      ASSERT_LT(++steps, 10000);
      std::optional<StepPlan> plan;
      if (in_flight.size() < static_cast<std::size_t>(micro_batches)) plan = scheduler.next_plan();
      if (plan) {
        const auto decoded = decode_step_plan(encode(*plan));
        ASSERT_TRUE(decoded.has_value());
        const auto rows = table.apply(*decoded);
        ASSERT_TRUE(rows.has_value()) << rows.error().to_string();
        std::set<std::int64_t> slots(rows->slots.begin(), rows->slots.end());
        ASSERT_EQ(slots.size(), rows->slots.size());
        std::vector<Result> results;
        for (std::size_t i = 0; i < rows->segments.size(); ++i) {
          if (!rows->segments[i].ends_known_tokens) continue;
          const auto& tokens = rows->segments[i].sequence->token_ids;
          // The "model": the next token is the number of tokens so far.
          results.push_back({static_cast<std::uint64_t>(decoded->segments[i].id),
                             static_cast<std::int32_t>(tokens.size() + 1)});
          for (std::size_t k = 0; k < tokens.size(); ++k) {
            ASSERT_EQ(tokens[k], static_cast<std::int32_t>(k + 1));
          }
        }
        in_flight.push_back(std::move(results));
        continue;
      }
      ASSERT_FALSE(in_flight.empty()) << "nothing can run and nothing is in flight";
      for (const Result& result : in_flight.front()) {
        if (--remaining[result.id] == 0) {
          scheduler.remove(SequenceId{result.id});
        } else {
          scheduler.append(SequenceId{result.id}, result.token_id);
        }
      }
      in_flight.pop_front();
    }
    for (const auto& [id, tokens] : remaining) EXPECT_EQ(tokens, 0) << "sequence " << id;
    EXPECT_EQ(scheduler.num_free_blocks(), num_blocks);
    num_preemptions += scheduler.num_preemptions();
  }
  EXPECT_GT(num_preemptions, 0);
}

}  // namespace
}  // namespace dsl::scheduler
