#include "launcher/output/human.h"

#include <gtest/gtest.h>

namespace dsl::launcher {
namespace {

TEST(Human, BytesHaveThreeDigits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.00 kB");
  EXPECT_EQ(human_bytes(1'234'567), "1.23 MB");
  EXPECT_EQ(human_bytes(12'345'678'901), "12.3 GB");
  EXPECT_EQ(human_bytes(999'999), "1.00 MB");
  EXPECT_EQ(human_bytes(671'000'000'000), "671 GB");
}

TEST(Human, DurationsGrowCoarser) {
  EXPECT_EQ(human_duration(0.04), "0.0 s");
  EXPECT_EQ(human_duration(9.9), "9.9 s");
  EXPECT_EQ(human_duration(59.6), "1 min 0 s");
  EXPECT_EQ(human_duration(75), "1 min 15 s");
  EXPECT_EQ(human_duration(7260), "2 h 1 min");
  EXPECT_EQ(human_duration(90000), "1 d 1 h");
}

TEST(Human, TableColumnsAlignByCharacters) {
  EXPECT_EQ(format_table({{"NAME", "X"}, {"\xE6\xA8\xA1\xE5\x9E\x8B", "1"}, {"longer", ""}}),
            "NAME    X\n\xE6\xA8\xA1\xE5\x9E\x8B      1\nlonger\n");
  EXPECT_EQ(format_table({}), "");
}

}  // namespace
}  // namespace dsl::launcher
