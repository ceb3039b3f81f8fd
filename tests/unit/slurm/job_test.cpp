#include "slurm/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "slurm/client.h"

namespace dsl::slurm {
namespace {

using ::testing::HasSubstr;

TEST(ExplainPending, SaysWhatToDo) {
  Job job;
  job.reason = "PartitionTimeLimit";
  EXPECT_THAT(explain_pending(job, WallTime::clock::now()), HasSubstr("time limit (-t)"));
}

TEST(ExplainPending, KeepsTheDetailsOfAReason) {
  Job job;
  job.reason = "ReqNodeNotAvail, UnavailableNodes:n3";
  const std::string text = explain_pending(job, WallTime::clock::now());
  EXPECT_THAT(text, HasSubstr("UnavailableNodes:n3"));
  EXPECT_THAT(text, HasSubstr("down, drained or reserved"));
}

TEST(ExplainPending, PassesUnknownReasonsOn) {
  Job job;
  job.reason = "SomethingNew";
  EXPECT_EQ(explain_pending(job, WallTime::clock::now()), "SomethingNew");
}

TEST(ExplainPending, NamesThePlannedStart) {
  const auto now = WallTime::clock::now();
  Job job;
  job.reason = "Resources";
  job.start_time = now + std::chrono::hours(1);
  job.planned_nodes = "n[1-2]";
  const std::string text = explain_pending(job, now);
  EXPECT_THAT(text, HasSubstr("planned to start at 20"));
  EXPECT_THAT(text, HasSubstr("on n[1-2]"));
  job.start_time = now - std::chrono::hours(1);
  EXPECT_EQ(explain_pending(job, now), "Resources: the nodes it asks for are in use");
}

TEST(JobState, EndedStatesAreOver) {
  EXPECT_FALSE(is_over(JobState::kPending));
  EXPECT_FALSE(is_over(JobState::kConfiguring));
  EXPECT_FALSE(is_over(JobState::kSuspended));
  EXPECT_TRUE(is_over(JobState::kCancelled));
  EXPECT_TRUE(is_over(JobState::kNodeFail));
  EXPECT_EQ(job_state_name(JobState::kNodeFail), "NODE_FAIL");
}

}  // namespace
}  // namespace dsl::slurm
