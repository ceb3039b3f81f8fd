#include "engine/scheduler/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "engine/scheduler/sequence_table.h"
#include "engine/scheduler/step_result.h"

namespace dsl::scheduler {
namespace {

StepPlan example_plan() {
  StepPlan plan;
  plan.step = 0;
  SequenceStart start;
  start.id = SequenceId{300};
  start.num_prompt_tokens = 3;
  start.token_ids = {5, 6, 7, 100};
  start.sampling.temperature = 0.7f;
  start.sampling.seed = ~std::uint64_t{0};
  start.sampling.num_logprobs = -1;
  start.sampling.logit_bias = {{9, -1.5f}};
  plan.started.push_back(start);
  plan.segments.push_back({SequenceId{300}, 3, {}, {0}, false});
  plan.segments.push_back({SequenceId{300}, 1, {}, {}, true});
  return plan;
}

SequenceTableOptions table_options() { return {64, 4, 8, 1000}; }

TEST(StepPlanTest, EncodingKeepsEveryField) {
  const StepPlan plan = example_plan();
  const auto decoded = decode_step_plan(encode(plan));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(encode(*decoded), encode(plan));
  ASSERT_EQ(decoded->started.size(), 1u);
  EXPECT_EQ(decoded->started[0].token_ids, plan.started[0].token_ids);
  EXPECT_EQ(decoded->started[0].sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(decoded->started[0].sampling.num_logprobs, -1);
  EXPECT_EQ(decoded->started[0].sampling.logit_bias, plan.started[0].sampling.logit_bias);
  EXPECT_TRUE(decoded->segments[1].ends_known_tokens);
}

TEST(StepPlanTest, DecodeStepTakesFewBytesPerSequence) {
  StepPlan plan;
  plan.step = 1000;
  for (std::uint64_t i = 0; i < 16; ++i) {
    plan.segments.push_back({SequenceId{i}, 1, {120000}, {}, true});
  }
  EXPECT_LE(encode(plan).size(), 16u * 10 + 10);
}

TEST(StepPlanTest, EveryTruncationIsRefused) {
  const auto bytes = encode(example_plan());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = decode_step_plan(std::span(bytes).first(size));
    ASSERT_FALSE(decoded.has_value()) << "of " << size << " bytes";
    EXPECT_EQ(decoded.error().code, ErrorCode::kProtocol);
  }
}

TEST(StepPlanTest, RandomChangesNeitherCrashNorBreakTheTable) {
  const auto seed = 20261123u;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto bytes = encode(example_plan());
  for (int round = 0; round < 20000; ++round) {
    auto changed = bytes;
    for (int i = 0; i < 3; ++i) {
      changed[random() % changed.size()] = std::byte(random() % 256);
    }
    const auto plan = decode_step_plan(changed);
    if (!plan.has_value()) continue;
    SequenceTable table(table_options());
    const auto rows = table.apply(*plan);
    if (!rows.has_value()) continue;
    for (const auto slot : rows->slots) ASSERT_TRUE(slot >= 0 && slot < 8 * 4);
    for (const auto id : rows->token_ids) ASSERT_TRUE(id >= 0 && id < 1000);
    ASSERT_LE(rows->token_ids.size(), 64u);
  }
}

TEST(SequenceTableTest, RowsFollowPositionsAndBlocks) {
  SequenceTable table(table_options());
  StepPlan plan = example_plan();
  plan.segments[0].new_blocks = {5};
  const auto first = table.apply(plan);
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  EXPECT_THAT(first->token_ids, testing::ElementsAre(5, 6, 7, 100));
  EXPECT_THAT(first->positions, testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(first->slots, testing::ElementsAre(20, 21, 22, 23));
  EXPECT_TRUE(first->segments[0].is_prompt);
  EXPECT_FALSE(first->segments[1].is_prompt);

  StepPlan next;
  next.step = 1;
  next.segments.push_back({SequenceId{300}, 1, {42}, {2}, true});
  const auto second = table.apply(next);
  ASSERT_TRUE(second.has_value());
  EXPECT_THAT(second->token_ids, testing::ElementsAre(42));
  EXPECT_THAT(second->slots, testing::ElementsAre(8));
  EXPECT_EQ(second->segments[0].first_position, 4);
}

TEST(SequenceTableTest, RowsBeginBehindCachedBlocks) {
  SequenceTable table(table_options());
  StepPlan plan;
  SequenceStart start;
  start.id = SequenceId{1};
  start.num_prompt_tokens = 5;
  start.token_ids = {1, 2, 3, 4, 5, 6};
  start.cached_blocks = {7};
  plan.started.push_back(start);
  plan.segments.push_back({SequenceId{1}, 1, {}, {3}, false});
  plan.segments.push_back({SequenceId{1}, 1, {}, {}, true});
  const auto decoded = decode_step_plan(encode(plan));
  ASSERT_TRUE(decoded.has_value());
  const auto rows = table.apply(*decoded);
  ASSERT_TRUE(rows.has_value()) << rows.error().to_string();
  EXPECT_THAT(rows->positions, testing::ElementsAre(4, 5));
  EXPECT_THAT(rows->slots, testing::ElementsAre(12, 13));
  EXPECT_TRUE(rows->segments[0].is_prompt);
  EXPECT_FALSE(rows->segments[1].is_prompt);
  EXPECT_THAT(rows->segments[0].sequence->block_table, testing::ElementsAre(7, 3));
}

TEST(SequenceTableTest, PlansThatDoNotFitAreRefused) {
  const auto refuses = [](auto change) {
    SequenceTable table(table_options());
    StepPlan plan = example_plan();
    change(plan);
    const auto rows = table.apply(plan);
    return !rows.has_value() && rows.error().code == ErrorCode::kProtocol;
  };
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.step = 1; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.released.push_back(SequenceId{1}); }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.started.push_back(plan.started[0]); }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.started[0].token_ids[1] = 1000; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.started[0].num_prompt_tokens = 5; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.started[0].cached_blocks = {0}; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) {
    plan.started[0].token_ids.push_back(101);
    plan.started[0].cached_blocks = {8};
  }));
  EXPECT_TRUE(refuses([](StepPlan& plan) {
    plan.started[0].token_ids.push_back(101);
    plan.started[0].goal = SequenceGoal::kScore;
    plan.started[0].cached_blocks = {0};
  }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[0].id = SequenceId{1}; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[0].num_rows = 4; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[0].num_rows = 0; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[0].new_blocks = {8}; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[0].new_blocks = {}; }));
  EXPECT_TRUE(refuses([](StepPlan& plan) { plan.segments[1].ends_known_tokens = false; }));
}

TEST(StepResultTest, TokensSurviveTheMessage) {
  const std::vector<ResultShape> shapes{{0}, {-1}, {2}};
  std::vector<sampling::SampledToken> tokens(3);
  tokens[0].token_id = 7;
  tokens[1].token_id = 8;
  tokens[2].token_id = 9;
  tokens[2].logprob = -0.5f;
  tokens[2].top_logprobs = {{9, -0.5f}};
  const auto bytes = encode_result(3, shapes, tokens);
  EXPECT_EQ(bytes.size(), encoded_size(shapes));
  const auto decoded = decode_result(bytes, 3, shapes, 10);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ((*decoded)[2].token_id, 9);
  EXPECT_EQ((*decoded)[2].top_logprobs.size(), 1u);
  EXPECT_FALSE(decode_result(bytes, 4, shapes, 10).has_value());
  EXPECT_FALSE(decode_result(bytes, 3, shapes, 9).has_value());
  EXPECT_FALSE(decode_result(std::span(bytes).first(20), 3, shapes, 10).has_value());
}

}  // namespace
}  // namespace dsl::scheduler
