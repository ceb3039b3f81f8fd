#include "slurm/hostlist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace dsl::slurm {
namespace {

using namespace std::string_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> expanded(std::string_view list) {
  auto hosts = expand_hostlist(list);
  EXPECT_TRUE(hosts.has_value()) << list << ": " << hosts.error().to_string();
  return hosts.value_or(std::vector<std::string>{});
}

TEST(ExpandHostlist, ReadsPlainNamesRangesAndLists) {
  EXPECT_THAT(expanded("login"), ElementsAre("login"));
  EXPECT_THAT(expanded("n[1-3,7]"), ElementsAre("n1", "n2", "n3", "n7"));
  EXPECT_THAT(expanded("a,b,c1,n[1-2],a"), ElementsAre("a", "b", "c1", "n1", "n2", "a"));
  EXPECT_THAT(expanded("h-1.example.com,[1-2]"), ElementsAre("h-1.example.com", "1", "2"));
}

TEST(ExpandHostlist, KeepsZeroPadding) {
  EXPECT_THAT(expanded("n[08-10]"), ElementsAre("n08", "n09", "n10"));
  EXPECT_THAT(expanded("n[001-002,9]"), ElementsAre("n001", "n002", "n9"));
}

TEST(ExpandHostlist, RunsTheLastOfSeveralBracketsFastest) {
  EXPECT_THAT(expanded("r[0-1]n[0-1]"), ElementsAre("r0n0", "r0n1", "r1n0", "r1n1"));
}

TEST(ExpandHostlist, ReadsSuffixes) {
  EXPECT_THAT(expanded("gpu[08-09]-ib,x"), ElementsAre("gpu08-ib", "gpu09-ib", "x"));
}

TEST(ExpandHostlist, RefusesMalformedLists) {
  for (const char* list : {"",         ",",
                           "a,",       ",a",
                           "n[",       "n[1",
                           "n[1-",     "n[]",
                           "n[1-]",    "n[-1]",
                           "n[a]",     "n[3-1]",
                           "n[1,,2]",  "n]",
                           "n[1]]",    "n[1[2]]",
                           "a b",      "a;b",
                           "n[1-2\n]", "$(id)",
                           "n[1 - 2]", "n[99999999999999999999]"}) {
    const auto hosts = expand_hostlist(list);
    ASSERT_FALSE(hosts.has_value()) << '"' << list << '"';
    EXPECT_EQ(hosts.error().code, ErrorCode::kInvalidArgument) << list;
  }
  EXPECT_FALSE(expand_hostlist(std::string_view("a\0b", 3)).has_value());
}

TEST(ExpandHostlist, RefusesHostileSizesWithoutExpandingThem) {
  for (const std::string& list : {std::string("n[0-999999999999999999]"), std::string("n[1-65537]"),
                                  std::string("[0-255][0-255][0-255]"), std::string("n[1-65536],m"),
                                  "[1-60000]" + std::string(300, 'a'), std::string(256, 'a'),
                                  "n[" + std::string(300, '0') + "1]",
                                  "[0-9][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]"s}) {
    EXPECT_FALSE(expand_hostlist(list).has_value()) << list.substr(0, 40);
  }
  EXPECT_EQ(expanded("n[1-65536]").size(), kMaxHosts);
}

TEST(FormatHostlist, FoldsRunsOfTrailingNumbers) {
  EXPECT_EQ(format_hostlist({"n1", "n2", "n4"}), "n[1-2,4]");
  EXPECT_EQ(format_hostlist({"n08", "n09", "n10", "n11"}), "n[08-11]");
  EXPECT_EQ(format_hostlist({"n9", "n10"}), "n[9-10]");
  EXPECT_EQ(format_hostlist({"n1"}), "n1");
  EXPECT_EQ(format_hostlist({"a", "n3", "n1", "b"}), "a,n[3,1],b");
  EXPECT_EQ(format_hostlist({}), "");
}

TEST(FormatHostlist, PutsNoSuffixAfterABracket) {
  EXPECT_EQ(format_hostlist({"n1-ib", "n2-ib"}), "n1-ib,n2-ib");
}

TEST(FormatHostlist, IsUndoneByExpandForRandomLists) {
  const auto seed = 20261123u;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const char* prefixes[] = {"n", "gpu", "r1-n", "x", "0a"};
  const char* suffixes[] = {"", "", "", "-ib", ".example.com"};
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> hosts;
    std::uint64_t number = random() % 120;
    for (std::size_t i = random() % 12 + 1; i > 0; --i) {
      number = random() % 3 == 0 ? random() % 1200 : number + 1;
      const int width = random() % 2 == 0 ? 0 : 3;
      hosts.push_back(fmt::format("{}{:0{}}{}", prefixes[random() % 5 * (random() % 2)], number,
                                  width, suffixes[random() % 5]));
    }
    const std::string list = format_hostlist(hosts);
    ASSERT_EQ(expanded(list), hosts) << list;
  }
}

TEST(ExpandHostlist, SurvivesRandomBytes) {
  const auto seed = 20261123u;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::string alphabet = "n1290-,[]ab. \n";
  for (int round = 0; round < 20000; ++round) {
    std::string list;
    for (std::size_t i = random() % 16; i > 0; --i) list += alphabet[random() % alphabet.size()];
    const auto hosts = expand_hostlist(list);
    if (hosts) {
      ASSERT_LE(hosts->size(), kMaxHosts) << list;
    }
  }
}

}  // namespace
}  // namespace dsl::slurm
