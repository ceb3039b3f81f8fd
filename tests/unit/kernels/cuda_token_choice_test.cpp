// Tokens chosen on the device are those that the host's sampler chooses.
#include <cmath>
#include <limits>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/sampling/sampler.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CudaTokenChoice : public testing::Test {
 protected:
  /// One row for each choice.
  std::vector<float> random_logits(std::size_t rows) {
    std::normal_distribution<float> distribution(0, 3);
    std::vector<float> logits(rows * static_cast<std::size_t>(vocab_size_));
    for (float& logit : logits) {
      // Steps of 1/8 make ties, also of the largest.
      logit = std::round(distribution(random_) * 8) / 8;
    }
    return logits;
  }

  Result<std::vector<ChosenToken>> choose(const std::vector<float>& logits,
                                          const std::vector<TokenChoice>& choices) {
    const auto bytes = logits.size() * sizeof(float);
    DSL_ASSIGN(const Buffer placed, Buffer::allocate(*device_.memory, bytes, "logits"));
    DSL_TRY(device_.memory->write(placed.data(), logits.data(), bytes));
    return device_.chooser->choose(
        {placed.as<float>(), std::ssize(choices), vocab_size_, vocab_size_}, choices);
  }

  sampling::SampledToken on_host(const std::vector<float>& logits, std::size_t row,
                                 const TokenChoice& choice) const {
    std::vector<float> own(logits.begin() + static_cast<std::ptrdiff_t>(row * vocab_size_),
                           logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * vocab_size_));
    sampling::SamplingParams params;
    params.temperature = choice.temperature;
    params.top_k = choice.top_k;
    params.top_p = choice.top_p;
    params.min_p = choice.min_p;
    params.seed = choice.seed;
    params.num_logprobs = choice.num_logprobs;
    auto sampled = sampling::sample(own, params, {}, {}, choice.position);
    DSL_CHECK(sampled.has_value(), "{}", sampled.error().to_string());
    return std::move(*sampled);
  }

  void expect_host_choices(const std::vector<TokenChoice>& choices) {
    const std::vector<float> logits = random_logits(choices.size());
    const auto chosen = choose(logits, choices);
    ASSERT_TRUE(chosen.has_value()) << chosen.error().to_string();
    for (std::size_t row = 0; row < choices.size(); ++row) {
      const TokenChoice& choice = choices[row];
      const sampling::SampledToken expected = on_host(logits, row, choice);
      const ChosenToken& actual = (*chosen)[row];
      EXPECT_EQ(actual.token.token_id, expected.token_id)
          << "temperature " << choice.temperature << ", top_k " << choice.top_k << ", top_p "
          << choice.top_p << ", min_p " << choice.min_p << ", seed " << choice.seed;
      EXPECT_NEAR(actual.token.logprob, expected.logprob, 1e-5);
      ASSERT_EQ(actual.top_logprobs.size(), expected.top_logprobs.size());
      for (std::size_t i = 0; i < expected.top_logprobs.size(); ++i) {
        EXPECT_EQ(actual.top_logprobs[i].token_id, expected.top_logprobs[i].token_id);
        EXPECT_NEAR(actual.top_logprobs[i].logprob, expected.top_logprobs[i].logprob, 1e-5);
      }
    }
  }

  std::int64_t vocab_size_ = 3001;
  Random random_{kSeed};
  Device device_ = [] {
    auto device = cuda::open_cuda_device(0);
    DSL_CHECK(device.has_value(), "{}", device.error().to_string());
    return std::move(*device);
  }();
};

TEST_F(CudaTokenChoice, EqualsTheHostsSampler) {
  std::vector<TokenChoice> choices;
  for (const float temperature : {0.0f, 0.7f, 1.5f}) {
    for (const std::int32_t top_k : {0, 1, 40, 5000}) {
      for (const float top_p : {1.0f, 0.9f, 0.001f}) {
        TokenChoice choice;
        choice.temperature = temperature;
        choice.top_k = top_k;
        choice.top_p = top_p;
        choice.min_p = choices.size() % 2 == 0 ? 0 : 0.02f;
        choice.num_logprobs = static_cast<std::int32_t>(choices.size() % 4) - 1;
        choice.seed = random_();
        choice.position = pick(random_, 0, 100000);
        choices.push_back(choice);
      }
    }
  }
  expect_host_choices(choices);
}

// A thread has more tokens than it can keep until the end of those that may be drawn is near.
TEST_F(CudaTokenChoice, EqualsTheHostsSamplerWithManyTokens) {
  vocab_size_ = 16001;
  TokenChoice wide;
  wide.temperature = 4;
  wide.top_p = 0.95f;
  TokenChoice narrow = wide;
  narrow.temperature = 0.5f;
  narrow.top_k = 9000;
  narrow.seed = 7;
  expect_host_choices({wide, narrow});
}

TEST_F(CudaTokenChoice, ExcludedTokensAreNeverDrawn) {
  TokenChoice choice;
  choice.temperature = 100;
  std::vector<float> logits(static_cast<std::size_t>(vocab_size_), -kInfinity);
  logits[17] = -3;
  logits[2900] = -4;
  int num_last = 0;
  for (choice.position = 0; choice.position < 20; ++choice.position) {
    const auto chosen = choose(logits, {choice});
    ASSERT_TRUE(chosen.has_value());
    const std::int32_t token = chosen->front().token.token_id;
    EXPECT_TRUE(token == 17 || token == 2900) << token;
    num_last += token == 2900 ? 1 : 0;
  }
  EXPECT_GT(num_last, 0);
  EXPECT_LT(num_last, 20);
}

TEST_F(CudaTokenChoice, NonsenseIsAnError) {
  for (const float bad : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    const auto size = static_cast<std::size_t>(vocab_size_);
    std::vector<float> logits(2 * size, 1);
    logits[size + 2000] = bad;
    const auto chosen = choose(logits, {TokenChoice{}, TokenChoice{}});
    ASSERT_FALSE(chosen.has_value());
    EXPECT_EQ(chosen.error().code, ErrorCode::kInternal);
    EXPECT_NE(chosen.error().message.find("token 2000"), std::string::npos);
  }
  const auto chosen = choose(std::vector<float>(static_cast<std::size_t>(vocab_size_), -kInfinity),
                             {TokenChoice{}});
  ASSERT_FALSE(chosen.has_value());
  EXPECT_NE(chosen.error().message.find("no token"), std::string::npos);
}

}  // namespace
}  // namespace dsl::test
