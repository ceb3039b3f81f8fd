#include "engine/scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace dsl::scheduler {
namespace {

using ::testing::ElementsAre;

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
  ASSERT_TRUE(scheduler.add(sequence(1, 20), {24}).has_value());
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
  ASSERT_TRUE(scheduler.add(sequence(1, 2), {10}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  scheduler.append(SequenceId{1}, 3);
  ASSERT_TRUE(scheduler.add(sequence(2, 30), {40}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->segments.size(), 2u);
  EXPECT_EQ(plan->segments[0].num_rows, 1);
  EXPECT_EQ(plan->segments[1].num_rows, 7);
}

TEST(SchedulerTest, EmittedTokensFollowThePromptInTheirOwnSegment) {
  Scheduler scheduler(options(16, 100));
  ASSERT_TRUE(scheduler.add(sequence(1, 5, 3), {20}).has_value());
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
    ASSERT_TRUE(scheduler.add(sequence(id, 2), {20}).has_value());
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
  const auto refused = scheduler.add(sequence(1, 10), {17});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(refused.error().message.find("17"), std::string::npos);
  EXPECT_NE(refused.error().message.find("16"), std::string::npos);
  EXPECT_TRUE(scheduler.add(sequence(1, 10), {16}).has_value());
}

TEST(SchedulerTest, RemovedSequenceGivesItsBlocksBack) {
  Scheduler scheduler(options(32, 8));
  ASSERT_TRUE(scheduler.add(sequence(1, 20), {24}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  EXPECT_EQ(scheduler.cache().num_available(), 3);
  scheduler.remove(SequenceId{1});
  EXPECT_EQ(scheduler.cache().num_available(), 8);
  ASSERT_TRUE(scheduler.add(sequence(2, 4), {8}).has_value());
  EXPECT_EQ(scheduler.next_plan()->released, std::vector<SequenceId>{SequenceId{1}});
}

TEST(SchedulerTest, SecondSequenceStartsBehindTheSharedBlocks) {
  Scheduler scheduler(options(32, 20));
  ASSERT_TRUE(scheduler.add(sequence(1, 10), {20}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  ASSERT_TRUE(scheduler.add(sequence(2, 12), {20}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->started.size(), 1u);
  EXPECT_THAT(plan->started[0].cached_blocks, ElementsAre(0, 1));
  ASSERT_EQ(plan->segments.size(), 1u);
  EXPECT_EQ(plan->segments[0].num_rows, 4);
  EXPECT_EQ(scheduler.counts().prefix_queries, 8 + 8);
  EXPECT_EQ(scheduler.counts().prefix_hits, 8);
}

TEST(SchedulerTest, SequencesOfOnePlanDoNotReadEachOther) {
  Scheduler scheduler(options(32, 20));
  ASSERT_TRUE(scheduler.add(sequence(1, 10), {20}).has_value());
  ASSERT_TRUE(scheduler.add(sequence(2, 10), {20}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->started.size(), 2u);
  EXPECT_TRUE(plan->started[1].cached_blocks.empty());
}

TEST(SchedulerTest, LastTokenIsComputedThoughAllAreCached) {
  Scheduler scheduler(options(32, 20));
  ASSERT_TRUE(scheduler.add(sequence(1, 8), {20}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  ASSERT_TRUE(scheduler.add(sequence(2, 8), {20}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->started[0].cached_blocks.size(), 1u);
  EXPECT_EQ(plan->num_rows(), 4);
  EXPECT_TRUE(plan->segments[0].ends_known_tokens);
}

TEST(SchedulerTest, GeneratedTokensAreNotReusedForAPrompt) {
  Scheduler scheduler(options(32, 20));
  ASSERT_TRUE(scheduler.add(sequence(1, 4, 8), {20}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  ASSERT_TRUE(scheduler.add(sequence(2, 12), {20}).has_value());  // the same tokens, all prompt
  ASSERT_TRUE(scheduler.add(sequence(3, 4, 8), {20}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->started.size(), 2u);
  EXPECT_EQ(plan->started[0].cached_blocks.size(), 1u);
  EXPECT_EQ(plan->started[1].cached_blocks.size(), 2u);
}

TEST(SchedulerTest, ScoredSequencesComputeEveryRow) {
  Scheduler scheduler(options(32, 20));
  ASSERT_TRUE(scheduler.add(sequence(1, 12), {20}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  SequenceStart scored = sequence(2, 12);
  scored.goal = SequenceGoal::kScore;
  ASSERT_TRUE(scheduler.add(scored, {12}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  EXPECT_TRUE(plan->started[0].cached_blocks.empty());
  EXPECT_EQ(plan->num_rows(), 12);
}

TEST(SchedulerTest, CacheThatIsOffIsNeverRead) {
  SchedulerOptions off = options(32, 20);
  off.prefix_cache = false;
  Scheduler scheduler(off);
  ASSERT_TRUE(scheduler.add(sequence(1, 12), {20}).has_value());
  ASSERT_TRUE(scheduler.next_plan().has_value());
  scheduler.remove(SequenceId{1});
  EXPECT_EQ(scheduler.cache().num_cached(), 0);
  ASSERT_TRUE(scheduler.add(sequence(2, 12), {20}).has_value());
  EXPECT_EQ(scheduler.next_plan()->num_rows(), 12);
}

TEST(SchedulerTest, HigherPriorityIsAdmittedFirstAndKeepsItsBlocks) {
  Scheduler scheduler(options(64, 4));
  SequenceStart other = sequence(1, 7);
  other.token_ids[0] = 500;
  ASSERT_TRUE(scheduler.add(other, {12}).has_value());
  ASSERT_TRUE(scheduler.add(sequence(2, 7), {12, 5}).has_value());
  const auto plan = scheduler.next_plan();
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->started.size(), 2u);
  EXPECT_EQ(plan->started[0].id, SequenceId{2});
  for (const std::int32_t token : {100, 101}) {
    for (const std::uint64_t id : {1, 2}) scheduler.append(SequenceId{id}, token);
    ASSERT_TRUE(scheduler.next_plan().has_value());
  }
  EXPECT_EQ(scheduler.counts().num_preemptions, 1);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  scheduler.remove(SequenceId{2});
  EXPECT_EQ(scheduler.next_plan()->started.at(0).id, SequenceId{1});
}

}  // namespace
}  // namespace dsl::scheduler
