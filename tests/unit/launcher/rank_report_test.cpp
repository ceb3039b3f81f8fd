#include "launcher/supervisor/rank_report.h"

#include <gtest/gtest.h>

namespace dsl::launcher {
namespace {

TEST(RankReport, ReadsLoadAndReady) {
  const auto load = parse_report(1, R"({"event":"load","bytes":5,"total":10})");
  ASSERT_TRUE(load);
  EXPECT_EQ(std::get<LoadReport>(*load).total, 10);
  const auto ready = parse_report(
      0,
      R"({"event":"ready","endpoint":"h:1","links":[{"peer":1,"transport":"shm","device":"memory"}],)"
      R"("resident_bytes":7,"tensor_parallel_path":"nccl","pipeline_parallel_path":"pinned"})");
  ASSERT_TRUE(ready);
  const auto& report = std::get<ReadyReport>(*ready);
  EXPECT_EQ(report.endpoint, "h:1");
  EXPECT_EQ(report.links, (std::vector<LinkRecord>{{0, 1, "shm", "memory"}}));
  EXPECT_EQ(report.resident_bytes, 7);
  EXPECT_EQ(report.path, (PathRecord{0, 0, "pinned", "nccl"}));
}

TEST(RankReport, UnknownEventsAreNoErrors) {
  const auto other = parse_report(1, R"({"event":"statistics","x":1})");
  ASSERT_TRUE(other);
  EXPECT_TRUE(std::holds_alternative<OtherReport>(*other));
}

TEST(RankReport, RefusesMalformedReports) {
  EXPECT_FALSE(parse_report(0, R"({"event":"ready"})")) << "rank 0 without endpoint";
  EXPECT_TRUE(parse_report(1, R"({"event":"ready"})"));
  EXPECT_FALSE(parse_report(1, R"({"event":"ready","links":5})"));
  EXPECT_FALSE(parse_report(1, R"({"event":"ready","links":[5]})"));
  EXPECT_FALSE(parse_report(1, "[]"));
  EXPECT_FALSE(parse_report(1, ""));
}

}  // namespace
}  // namespace dsl::launcher
