#include "engine/model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dsl::model {
namespace {

/// The rotary part of DeepSeek-V3.
checkpoint::ModelConfig v3_config() {
  checkpoint::ModelConfig config;
  config.qk_rope_head_dim = 64;
  config.rope_theta = 10000;
  config.yarn = checkpoint::YarnConfig{40, 4096, 32, 1, 1, 1};
  return config;
}

TEST(RopeTableTest, PlainFrequenciesAreAGeometricSeries) {
  checkpoint::ModelConfig config = v3_config();
  config.yarn.reset();
  const auto frequencies = inverse_frequencies(config);
  ASSERT_EQ(frequencies.size(), 32u);
  EXPECT_EQ(frequencies[0], 1.0f);
  EXPECT_NEAR(frequencies[16], 0.01f, 1e-9);
  EXPECT_EQ(rope_magnitude(config), 1.0f);
}

/// V2 and V3 blend between pairs 10 and 23.
TEST(RopeTableTest, YarnKeepsFastPairsAndInterpolatesSlowOnes) {
  checkpoint::ModelConfig plain = v3_config();
  plain.yarn.reset();
  const auto before = inverse_frequencies(plain);
  const auto after = inverse_frequencies(v3_config());
  for (std::size_t i = 0; i <= 10; ++i) EXPECT_EQ(after[i], before[i]) << "pair " << i;
  for (std::size_t i = 23; i < 32; ++i) {
    EXPECT_NEAR(after[i], before[i] / 40, 1e-7f * before[i]) << "pair " << i;
  }
  const double ramp = 1.0 / 13;
  EXPECT_NEAR(after[11], before[11] * (ramp / 40 + 1 - ramp), 1e-7);
}

TEST(RopeTableTest, MagnitudeIsTheRatioOfTheTwoScales) {
  checkpoint::ModelConfig config = v3_config();
  EXPECT_EQ(rope_magnitude(config), 1.0f);
  config.yarn->mscale_all_dim = 0;
  EXPECT_NEAR(rope_magnitude(config), 1.368888f, 1e-6);
  config.yarn->mscale = 0.707;
  EXPECT_NEAR(rope_magnitude(config), 1.260804f, 1e-6);
}

TEST(RopeTableTest, TableHoldsCosineAndSineOfEveryPosition) {
  HostMemory memory;
  const auto config = v3_config();
  const auto tables = RopeTables::make(memory, config, 5000);
  ASSERT_TRUE(tables.has_value());
  const RopeTable& table = tables->view();
  EXPECT_EQ(table.max_positions, 5000);
  EXPECT_EQ(table.rope_dim, 64);
  const auto frequencies = inverse_frequencies(config);
  for (const std::int64_t position : {0, 1, 4999}) {
    for (std::size_t pair = 0; pair < 32; ++pair) {
      const double angle = static_cast<double>(position) * frequencies[pair];
      const auto at = static_cast<std::size_t>(position) * 32 + pair;
      EXPECT_NEAR(table.cos[at], std::cos(angle), 1e-3) << position << ", " << pair;
      EXPECT_NEAR(table.sin[at], std::sin(angle), 1e-3) << position << ", " << pair;
    }
  }
}

}  // namespace
}  // namespace dsl::model
