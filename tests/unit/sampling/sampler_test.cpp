#include "engine/sampling/sampler.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace dsl::sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SampledToken draw(std::vector<float> logits, const SamplingParams& params,
                  std::int64_t position = 0, std::vector<std::int32_t> prompt = {},
                  std::vector<std::int32_t> generated = {}) {
  const auto sampled = sample(logits, params, prompt, generated, position);
  EXPECT_TRUE(sampled.has_value());
  return sampled.value_or(SampledToken{-1, 0, {}});
}

SamplingParams at_temperature(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

std::vector<float> random_logits(std::size_t size, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

/// How often each token is drawn over `draws` positions.
std::vector<int> histogram(const std::vector<float>& logits, const SamplingParams& params,
                           int draws) {
  std::vector<int> counts(logits.size());
  for (int position = 0; position < draws; ++position) {
    ++counts[static_cast<std::size_t>(draw(logits, params, position).token_id)];
  }
  return counts;
}

/// Pearson's statistic against these probabilities; tokens of probability 0 must not have been
/// drawn.
double chi_squared(const std::vector<int>& counts, const std::vector<double>& probabilities,
                   int draws) {
  double statistic = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (probabilities[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double expected = probabilities[i] * draws;
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return statistic;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> probabilities;
  double sum = 0;
  for (const float logit : logits) sum += probabilities.emplace_back(std::exp(logit / temperature));
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

TEST(Sample, GreedyTakesTheLargestAndTheLowerIdOfATie) {
  EXPECT_EQ(draw({1, 3, 2}, {}).token_id, 1);
  EXPECT_EQ(draw({1, 3, 3, 3}, {}).token_id, 1);
  EXPECT_EQ(draw({-kInfinity, -5, -kInfinity}, {}).token_id, 1);
  EXPECT_EQ(draw({1, 3, 2}, at_temperature(1e-6f)).token_id, 1);
}

TEST(Sample, NonsenseLogitsAreAnErrorThatNamesTheToken) {
  for (const std::vector<float>& bad :
       {std::vector<float>{1, std::nanf(""), 2}, std::vector<float>{1, kInfinity, 2}}) {
    std::vector<float> logits = bad;
    const auto sampled = sample(logits, {}, {}, {}, 5);
    ASSERT_FALSE(sampled.has_value());
    EXPECT_EQ(sampled.error().code, ErrorCode::kInternal);
    EXPECT_THAT(sampled.error().message, testing::HasSubstr("token 1 at position 5"));
  }
  std::vector<float> nothing{-kInfinity, -kInfinity};
  EXPECT_FALSE(sample(nothing, {}, {}, {}, 0).has_value());
}

TEST(Sample, DistributionIsTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits{2.0f, 1.0f, 0.5f, 0.0f, -1.0f, 1.5f, -kInfinity, 0.25f};
  constexpr int kDraws = 40'000;
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const auto counts = histogram(logits, at_temperature(temperature), kDraws);
    // 6 degrees of freedom: 30 is exceeded with probability 4e-5, and the noise is fixed.
    EXPECT_LT(chi_squared(counts, softmax(logits, temperature), kDraws), 30) << temperature;
  }
}

TEST(Sample, SeedsAndPositionsAreIndependent) {
  const std::vector<float> flat(4, 0.0f);
  constexpr int kDraws = 20'000;
  std::vector<int> pairs(16);
  SamplingParams first = at_temperature(1);
  SamplingParams second = at_temperature(1);
  second.seed = 1;
  for (int position = 0; position < kDraws; ++position) {
    ++pairs[static_cast<std::size_t>(4 * draw(flat, first, position).token_id +
                                     draw(flat, second, position).token_id)];
  }
  // 15 degrees of freedom: 45 is exceeded with probability 8e-5.
  EXPECT_LT(chi_squared(pairs, std::vector<double>(16, 1.0 / 16), kDraws), 45);
}

TEST(Sample, TopKKeepsExactlyTheKLikeliest) {
  const std::vector<float> logits{0.0f, 1.0f, 1.0f, 0.5f, 1.0f};
  SamplingParams params = at_temperature(1);
  params.top_k = 2;  // of three equal ones, the two of lower id
  EXPECT_LT(chi_squared(histogram(logits, params, 4000), {0, 0.5, 0.5, 0, 0}, 4000), 15);
  params.top_k = 1;
  EXPECT_EQ(histogram(logits, params, 100)[1], 100);
}

TEST(Sample, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingParams params = at_temperature(1);
  params.top_p = 0.75f;
  EXPECT_LT(chi_squared(histogram(logits, params, 8000), {0.625, 0.375, 0, 0}, 8000), 15);
  params.top_p = 1e-6f;
  EXPECT_EQ(histogram(logits, params, 100)[0], 100);
}

TEST(Sample, TopPCountsWhatTopKLeft) {
  const std::vector<float> logits{std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  SamplingParams params = at_temperature(1);
  params.top_k = 2;
  params.top_p = 0.55f;  // 0.4 / 0.7 = 0.571 reaches it alone
  EXPECT_EQ(histogram(logits, params, 200)[0], 200);
}

TEST(Sample, MinPIsRelativeToTheLikeliest) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingParams params = at_temperature(1);
  params.min_p = 0.4f;
  EXPECT_LT(chi_squared(histogram(logits, params, 8000), {0.625, 0.375, 0, 0}, 8000), 15);
}

TEST(Sample, TopPOverALargeVocabularyEqualsTheDefinition) {
  const unsigned seed = 20261123u;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (const float scale : {0.05f, 1.0f, 4.0f}) {
    std::vector<float> logits = random_logits(20'000, random);
    for (float& logit : logits) logit *= scale;
    SamplingParams params = at_temperature(1);
    params.top_p = 0.9f;
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return logits[a] > logits[b]; });
    const auto probabilities = softmax(logits, 1);
    std::vector<bool> is_allowed(logits.size());
    double sum = 0;
    for (std::size_t i = 0; i < order.size() && sum < 0.9 + 1e-6; ++i) {
      is_allowed[order[i]] = true;
      sum += probabilities[order[i]];
    }
    for (int position = 0; position < 300; ++position) {
      EXPECT_TRUE(is_allowed[static_cast<std::size_t>(draw(logits, params, position).token_id)]);
    }
  }
}

TEST(Sample, FiltersNeverChangeTheNoiseOfWhatTheyKeep) {
  const unsigned seed = 20261123u;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const std::vector<float> logits = random_logits(500, random);
    SamplingParams params = at_temperature(1);
    params.seed = random();
    const std::int32_t unfiltered = draw(logits, params, round).token_id;
    params.top_k = 100;
    params.min_p = 1e-4f;
    const std::int32_t filtered = draw(logits, params, round).token_id;
    // The winner of the larger race also wins the smaller one, unless it was filtered out.
    const auto better = std::count_if(logits.begin(), logits.end(), [&](float logit) {
      return logit > logits[static_cast<std::size_t>(unfiltered)];
    });
    if (better < 50) {
      EXPECT_EQ(filtered, unfiltered);
    }
  }
}

TEST(Sample, PenaltiesFollowTheirDefinitions) {
  SamplingParams params;
  params.repetition_penalty = 2;
  EXPECT_EQ(draw({4, 3, 1}, params, 0, {0}).token_id, 1);            // 4 / 2 < 3
  EXPECT_EQ(draw({-1, -1.5f, -9}, params, 0, {}, {0}).token_id, 1);  // -1 * 2 < -1.5
  params = {};
  params.presence_penalty = 1.5f;
  EXPECT_EQ(draw({4, 3, 1}, params, 0, {0}).token_id, 0);  // the prompt does not count
  EXPECT_EQ(draw({4, 3, 1}, params, 0, {}, {0, 0, 0}).token_id, 1);
  params = {};
  params.frequency_penalty = 0.4f;
  EXPECT_EQ(draw({4, 3, 1}, params, 0, {}, {0, 0}).token_id, 0);
  EXPECT_EQ(draw({4, 3, 1}, params, 0, {}, {0, 0, 0}).token_id, 1);
}

TEST(Sample, LogitBiasForcesAndForbids) {
  SamplingParams params = at_temperature(1);
  params.logit_bias = {{2, 100.0f}};
  EXPECT_EQ(histogram({5, 5, 0}, params, 100)[2], 100);
  params.logit_bias = {{0, -100.0f}};
  EXPECT_EQ(histogram({5, 0, 0}, params, 200)[0], 0);
}

TEST(Sample, LogprobsAreOfTheRawLogits) {
  SamplingParams params;
  params.num_logprobs = 2;
  params.logit_bias = {{2, 100.0f}};
  const SampledToken sampled = draw({2, 1, 0, 1}, params);
  EXPECT_EQ(sampled.token_id, 2);
  const double log_sum = std::log(std::exp(2) + 2 * std::exp(1) + 1);
  EXPECT_NEAR(sampled.logprob, 0 - log_sum, 1e-6);
  ASSERT_EQ(sampled.top_logprobs.size(), 2u);
  EXPECT_EQ(sampled.top_logprobs[0].token_id, 0);
  EXPECT_NEAR(sampled.top_logprobs[0].logprob, 2 - log_sum, 1e-6);
  EXPECT_EQ(sampled.top_logprobs[1].token_id, 1);  // ties with 3
  params.num_logprobs = -1;
  EXPECT_THAT(draw({2, 1, 0, 1}, params).top_logprobs, testing::IsEmpty());
}

TEST(Sample, IsAPureFunction) {
  std::mt19937 random(3);
  const std::vector<float> logits = random_logits(1000, random);
  SamplingParams params = at_temperature(0.8f);
  params.top_p = 0.95f;
  params.seed = 99;
  for (int position = 0; position < 50; ++position) {
    EXPECT_EQ(draw(logits, params, position).token_id, draw(logits, params, position).token_id);
  }
}

}  // namespace
}  // namespace dsl::sampling
