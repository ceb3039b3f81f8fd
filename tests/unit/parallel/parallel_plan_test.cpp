#include "engine/parallel/parallel_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

namespace dsl::parallel {
namespace {

using ::testing::HasSubstr;

ModelCosts equal_layers(std::size_t count) { return {std::vector<std::int64_t>(count, 100), 0, 0}; }

TEST(ParallelPlanTest, RanksAreStageMajor) {
  const auto plan = ParallelPlan::make(2, 3, {}, equal_layers(6));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->world_size(), 6);
  EXPECT_EQ(plan->stage_of(5), 2);
  EXPECT_EQ(plan->shard_of(5), 1);
  EXPECT_EQ(plan->rank_of(2, 1), 5);
  EXPECT_EQ(plan->sampling_rank(), 4);
}

TEST(ParallelPlanTest, HeavyHeadTakesLayersFromTheLastStage) {
  ModelCosts costs = equal_layers(6);
  costs.head_bytes = 200;
  const auto plan = ParallelPlan::make(1, 2, {}, costs);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->stage(0), (StageLayers{0, 4}));
  EXPECT_EQ(plan->stage(1), (StageLayers{4, 2}));
}

TEST(ParallelPlanTest, ErrorsNameTheNumbers) {
  const SplitDimension heads{"num_attention_heads", 6};
  const auto odd = ParallelPlan::make(3, 1, {}, equal_layers(4));
  const auto indivisible = ParallelPlan::make(4, 1, std::span(&heads, 1), equal_layers(4));
  const auto deep = ParallelPlan::make(1, 5, {}, equal_layers(4));
  const auto none = ParallelPlan::make(1, 0, {}, equal_layers(4));
  for (const auto* plan : {&odd, &indivisible, &deep, &none}) {
    ASSERT_FALSE(plan->has_value());
    EXPECT_EQ(plan->error().code, ErrorCode::kParallelism);
  }
  EXPECT_THAT(odd.error().message, HasSubstr("found 3"));
  EXPECT_THAT(indivisible.error().message,
              HasSubstr("tp 4 does not divide the model's num_attention_heads of 6"));
  EXPECT_THAT(deep.error().message, HasSubstr("from 1 to 4 (the model's layers), found 5"));
}

/// Property: stages cover all layers in order, none is empty, and no other split has a smaller
/// largest stage (checked by moving each boundary by one).
TEST(ParallelPlanTest, StagesAreCompleteAndLocallyOptimal) {
  std::mt19937 random(1553317118);  // found a split that was judged against one with an empty stage
  for (int round = 0; round < 200; ++round) {
    ModelCosts costs;
    costs.layer_bytes.resize(1 + random() % 12);
    for (auto& bytes : costs.layer_bytes) bytes = 1 + random() % 1000;
    costs.embedding_bytes = random() % 1000;
    costs.head_bytes = random() % 1000;
    const int pp = 1 + static_cast<int>(random() % costs.layer_bytes.size());
    const auto plan = ParallelPlan::make(1, pp, {}, costs);
    ASSERT_TRUE(plan.has_value());

    std::vector<std::int64_t> ends;
    std::int64_t next = 0;
    for (int stage = 0; stage < pp; ++stage) {
      EXPECT_EQ(plan->stage(stage).first_layer, next);
      EXPECT_GE(plan->stage(stage).num_layers, 1);
      next += plan->stage(stage).num_layers;
      ends.push_back(next);
    }
    EXPECT_EQ(next, static_cast<std::int64_t>(costs.layer_bytes.size()));

    const auto largest = [&](const std::vector<std::int64_t>& stage_ends) {
      std::int64_t result = 0;
      std::int64_t begin = 0;
      for (int stage = 0; stage < pp; ++stage) {
        const auto end = stage_ends[static_cast<std::size_t>(stage)];
        auto bytes = std::accumulate(costs.layer_bytes.begin() + begin,
                                     costs.layer_bytes.begin() + end, std::int64_t{0});
        if (stage == 0) bytes += costs.embedding_bytes;
        if (stage == pp - 1) bytes += costs.head_bytes;
        result = std::max(result, bytes);
        begin = end;
      }
      return result;
    };
    for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
      for (const int shift : {-1, 1}) {
        auto moved = ends;
        moved[i] += shift;
        const bool has_empty_stage =
            moved.front() < 1 ||
            std::adjacent_find(moved.begin(), moved.end(), std::greater_equal<>()) != moved.end();
        if (has_empty_stage) continue;
        EXPECT_LE(largest(ends), largest(moved));
      }
    }
  }
}

}  // namespace
}  // namespace dsl::parallel
