#include "slurm/time_limit.h"

#include <gtest/gtest.h>

#include <random>

namespace dsl::slurm {
namespace {

std::optional<std::uint32_t> minutes_of(std::string_view text) {
  const auto limit = parse_time_limit(text);
  EXPECT_TRUE(limit.has_value()) << text;
  return limit ? limit->minutes : std::nullopt;
}

TEST(ParseTimeLimit, ReadsEveryNotationOfSbatch) {
  EXPECT_EQ(minutes_of("90"), 90u);
  EXPECT_EQ(minutes_of("90:30"), 91u);  // minutes:seconds, rounded up
  EXPECT_EQ(minutes_of("1:30:00"), 90u);
  EXPECT_EQ(minutes_of("2-0"), 2u * 24 * 60);
  EXPECT_EQ(minutes_of("1-2:30"), 26u * 60 + 30);
  EXPECT_EQ(minutes_of("1-2:30:01"), 26u * 60 + 31);
  EXPECT_EQ(minutes_of("0:01"), 1u);
}

TEST(ParseTimeLimit, KnowsTheWordsForUnlimited) {
  for (const char* text : {"UNLIMITED", "unlimited", "Infinite", "-1", "0"}) {
    EXPECT_EQ(minutes_of(text), std::nullopt) << text;
  }
}

TEST(ParseTimeLimit, RefusesEverythingElse) {
  for (const char* text :
       {"", "-", "1-", "-5", "a", "1h", "1:2:3:4", "1-2:3:4:5", "1:", ":1", " 1", "1 ", "1.5",
        "99999999999999999999", "1-2-3", "99999999-0", "UNLIMITED1"}) {
    const auto limit = parse_time_limit(text);
    ASSERT_FALSE(limit.has_value()) << text;
    EXPECT_EQ(limit.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(FormatTimeLimit, IsReadBack) {
  EXPECT_EQ(format_time_limit(TimeLimit{90}), "01:30:00");
  EXPECT_EQ(format_time_limit(TimeLimit{24 * 60}), "1-00:00:00");
  EXPECT_EQ(format_time_limit(TimeLimit{}), "UNLIMITED");
  const auto seed = 20261123u;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 1000; ++round) {
    const TimeLimit limit{random() % 1'000'000 + 1};
    EXPECT_EQ(parse_time_limit(format_time_limit(limit)).value(), limit);
  }
}

}  // namespace
}  // namespace dsl::slurm
