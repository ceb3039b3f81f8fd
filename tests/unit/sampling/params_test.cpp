#include <gmock/gmock.h>

#include <cmath>
#include <functional>

#include "engine/sampling/sampler.h"

namespace dsl::sampling {
namespace {

TEST(ValidateParams, DefaultsAndLimitsAreValid) {
  EXPECT_TRUE(validate({}, 100).has_value());
  SamplingParams params;
  params.temperature = 100;
  params.top_k = 1'000'000;
  params.min_p = 1;
  params.presence_penalty = -2;
  params.frequency_penalty = 2;
  params.logit_bias = {{0, -100.0f}, {99, 100.0f}};
  params.num_logprobs = 20;
  EXPECT_TRUE(validate(params, 100).has_value());
}

TEST(ValidateParams, EveryFieldOutOfRangeIsNamed) {
  const std::pair<const char*, std::function<void(SamplingParams&)>> changes[] = {
      {"temperature", [](SamplingParams& p) { p.temperature = -1; }},
      {"temperature", [](SamplingParams& p) { p.temperature = std::nanf(""); }},
      {"temperature", [](SamplingParams& p) { p.temperature = INFINITY; }},
      {"top_k", [](SamplingParams& p) { p.top_k = -1; }},
      {"top_p", [](SamplingParams& p) { p.top_p = 0; }},
      {"top_p", [](SamplingParams& p) { p.top_p = 1.1f; }},
      {"min_p", [](SamplingParams& p) { p.min_p = 1.1f; }},
      {"repetition_penalty", [](SamplingParams& p) { p.repetition_penalty = 0; }},
      {"presence_penalty", [](SamplingParams& p) { p.presence_penalty = 3; }},
      {"frequency_penalty", [](SamplingParams& p) { p.frequency_penalty = std::nanf(""); }},
      {"logprobs", [](SamplingParams& p) { p.num_logprobs = 21; }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{100, 0.0f}};
       }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{-1, 0.0f}};
       }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{1, 101.0f}};
       }},
  };
  for (const auto& [field, change] : changes) {
    SamplingParams params;
    change(params);
    const auto status = validate(params, 100);
    ASSERT_FALSE(status.has_value()) << field;
    EXPECT_EQ(status.error().code, ErrorCode::kRequestInvalid);
    EXPECT_THAT(status.error().message, testing::StartsWith(field));
  }
}

}  // namespace
}  // namespace dsl::sampling
