// Routing formulas by hand-computed examples, and the route op of every variant.
#include "engine/kernels/routing.h"

#include <cmath>
#include <limits>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

struct Chosen {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Chosen choose(std::vector<float> logits, const std::vector<float>& bias,
              const RoutingConfig& config) {
  Chosen chosen;
  chosen.ids.resize(static_cast<std::size_t>(config.num_experts_per_tok));
  chosen.weights.resize(chosen.ids.size());
  choose_experts(logits, bias, config, chosen.ids.data(), chosen.weights.data());
  return chosen;
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

TEST(RoutingTest, SoftmaxGreedyScalesWithoutNormalising) {
  RoutingConfig config{ScoringFunc::kSoftmax, TopkMethod::kGreedy, 4, 2, 1, 1, false, 3.0f};
  const Chosen chosen = choose({0.0f, std::log(2.0f), 0.0f, std::log(4.0f)}, {}, config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{1, 3}));
  EXPECT_NEAR(chosen.weights[0], 3.0f * 2 / 8, 1e-6);
  EXPECT_NEAR(chosen.weights[1], 3.0f * 4 / 8, 1e-6);
}

TEST(RoutingTest, SoftmaxNormalisesInsteadOfScaling) {
  RoutingConfig config{ScoringFunc::kSoftmax, TopkMethod::kGreedy, 4, 2, 1, 1, true, 16.0f};
  const Chosen chosen = choose({0.0f, std::log(2.0f), 0.0f, std::log(4.0f)}, {}, config);
  EXPECT_NEAR(chosen.weights[0], 2.0f / 6, 1e-6);
  EXPECT_NEAR(chosen.weights[1], 4.0f / 6, 1e-6);
}

TEST(RoutingTest, GroupLimitedGreedyRanksGroupsByTheirLargestScore) {
  // Group 1 has the largest single score, group 0 the larger sum.
  RoutingConfig config{
      ScoringFunc::kSoftmax, TopkMethod::kGroupLimitedGreedy, 6, 2, 3, 1, false, 1};
  const Chosen chosen = choose({2.0f, 2.0f, 2.1f, -5.0f, 0.0f, 0.0f}, {}, config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{2, 3}));
}

TEST(RoutingTest, NoauxRanksGroupsByTheSumOfTheirTwoLargest) {
  RoutingConfig config{ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, 6, 2, 3, 1, false, 1};
  const Chosen chosen = choose({2.0f, 2.0f, 2.1f, -5.0f, 0.0f, 0.0f}, {}, config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{0, 1}));
}

TEST(RoutingTest, BiasSelectsButDoesNotWeigh) {
  RoutingConfig config{ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, 4, 2, 1, 1, true, 2.5f};
  const Chosen chosen = choose({1.0f, 0.5f, 0.0f, -1.0f}, {0, 0, 0, 10}, config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{0, 3}));
  const float sum = sigmoid(1) + sigmoid(-1);
  EXPECT_NEAR(chosen.weights[0], 2.5f * sigmoid(1) / sum, 1e-6);
  EXPECT_NEAR(chosen.weights[1], 2.5f * sigmoid(-1) / sum, 1e-6);
}

TEST(RoutingTest, ExcludedGroupsStayExcludedWhenBiasedScoresAreNegative) {
  // With 0 instead of minus infinity the excluded expert 0 would beat the kept experts 2 and 3.
  RoutingConfig config{ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, 4, 2, 2, 1, false, 1};
  const Chosen chosen = choose({0, 0, 0, 0}, {-9, -9, -2, -2}, config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{2, 3}));
}

TEST(RoutingTest, TiesTakeTheLowerIndex) {
  RoutingConfig config{ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, 8, 3, 4, 2, false, 1};
  const Chosen chosen = choose(std::vector<float>(8, 0.25f), std::vector<float>(8, 0.5f), config);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(RoutingTest, NaNLogitsStillGiveDistinctExpertsInRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  RoutingConfig config{ScoringFunc::kSoftmax, TopkMethod::kGroupLimitedGreedy, 6, 4, 3, 2, true, 1};
  const Chosen chosen = choose({nan, 1, nan, 2, nan, nan}, {}, config);
  for (std::size_t i = 0; i < chosen.ids.size(); ++i) {
    EXPECT_GE(chosen.ids[i], i == 0 ? 0 : chosen.ids[i - 1] + 1);
    EXPECT_LT(chosen.ids[i], 6);
  }
}

class RouteOpTest : public VariantTest {};

TEST_P(RouteOpTest, ChoosesAsTheReference) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const DType bias_type : {DType::kF32, DType::kBF16, DType::kF16}) {
      const RoutingConfig config{
          ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, 64, 6, 8, 4, true, 2.5f};
      const std::int64_t rows = 37;
      const auto x = TestMatrix::random(random_, type, rows, 200);
      const auto gate = TestWeight::random(random_, DType::kBF16, {64, 200});
      const auto bias = TestVector::random(random_, bias_type, 64);
      std::vector<std::int32_t> ids[2];
      std::vector<float> weights[2];
      for (int i = 0; i < 2; ++i) {
        ids[i].resize(static_cast<std::size_t>(rows * 6), -1);
        weights[i].resize(ids[i].size(), -1);
        (i == 0 ? *ops_ : *reference_)
            .route(x.view(), gate.view(), bias.view(), config,
                   {ids[i].data(), weights[i].data(), rows, 6});
      }
      EXPECT_EQ(ids[0], ids[1]) << "seed " << kSeed;
      for (std::size_t i = 0; i < weights[0].size(); ++i) {
        EXPECT_NEAR(weights[0][i], weights[1][i], 1e-4);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, RouteOpTest, testing::ValuesIn(fast_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
