#include "launcher/commands/likelihood.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace dsl::launcher {
namespace {

TEST(Likelihood, EqualsTheFormulaHoweverTheValuesAreCut) {
  const std::uint64_t seed = 20261123u;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  constexpr std::int64_t kVocab = 7;
  const std::vector<std::int32_t> ids = {3, 0, 6, 2};
  std::vector<float> logits(ids.size() * kVocab);
  std::normal_distribution<float> normal(0, 50);
  for (float& value : logits) value = normal(random);
  double expected = 0;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    long double sum = 0;
    const float* row = &logits[i * kVocab];
    const float target = row[ids[i + 1]];
    for (int v = 0; v < kVocab; ++v) sum += std::exp(static_cast<long double>(row[v]) - target);
    expected += static_cast<double>(std::log(sum));
  }
  Likelihood likelihood(ids, kVocab);
  std::span<const float> rest(logits);
  while (!rest.empty()) {
    const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + random() % 10);
    likelihood.add(rest.first(piece));
    rest = rest.subspan(piece);
  }
  ASSERT_TRUE(likelihood.check_complete());
  EXPECT_NEAR(likelihood.mean_nll(), expected / 3, 1e-6 * (1 + expected));
}

TEST(Likelihood, NoticesMissingAndExtraRows) {
  Likelihood likelihood({1, 2}, 3);
  likelihood.add(std::vector<float>(5));
  EXPECT_EQ(likelihood.check_complete().error().code, ErrorCode::kProtocol);
  likelihood.add(std::vector<float>(1));
  EXPECT_TRUE(likelihood.check_complete());
  likelihood.add(std::vector<float>(3));
  EXPECT_FALSE(likelihood.check_complete());
}

TEST(Likelihood, ASingleTokenPredictsNothing) {
  Likelihood likelihood({1}, 2);
  likelihood.add(std::vector<float>{1, 2});
  EXPECT_EQ(likelihood.mean_nll(), 0);
}

}  // namespace
}  // namespace dsl::launcher
