#include "engine/sampling/noise.h"

#include <gmock/gmock.h>

namespace dsl::sampling {
namespace {

std::vector<std::uint32_t> words_of(const PhiloxBlock& block) {
  return {std::begin(block.words), std::end(block.words)};
}

TEST(Philox, MatchesThePublishedVectors) {
  using testing::ElementsAre;
  EXPECT_THAT(words_of(philox4x32({{0, 0, 0, 0}}, 0)),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr std::uint32_t kOnes = ~std::uint32_t{0};
  EXPECT_THAT(words_of(philox4x32({{kOnes, kOnes, kOnes, kOnes}}, ~std::uint64_t{0})),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      words_of(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822)),
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(PositionNoise, IsAFunctionOfTheTokenWhateverTheOrder) {
  PositionNoise forward(42, 7);
  PositionNoise backward(42, 7);
  std::vector<double> values;
  for (int id = 0; id < 1000; ++id) values.push_back(forward.uniform(id));
  for (int id = 999; id >= 0; --id) {
    EXPECT_EQ(backward.uniform(id), values[static_cast<std::size_t>(id)]);
    EXPECT_GT(values[static_cast<std::size_t>(id)], 0);
    EXPECT_LT(values[static_cast<std::size_t>(id)], 1);
  }
}

TEST(PositionNoise, DiffersBetweenSeedsAndPositions) {
  EXPECT_NE(PositionNoise(1, 7).uniform(3), PositionNoise(2, 7).uniform(3));
  EXPECT_NE(PositionNoise(1, 7).uniform(3), PositionNoise(1, 8).uniform(3));
  EXPECT_NE(PositionNoise(1, 7).uniform(3),
            PositionNoise(std::uint64_t{1} << 32 | 1, 7).uniform(3));
}

}  // namespace
}  // namespace dsl::sampling
