#include "launcher/cluster/slurm_allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "launcher/deployment/slurm_registry.h"
#include "tests/unit/launcher_slurm/fake_slurm.h"

namespace dsl::launcher {
namespace {

using namespace std::chrono_literals;
using slurm::JobState;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LaunchRequest demo_request() {
  LaunchRequest request;
  request.spec.name = "demo";
  request.spec.cluster = ClusterKind::kSlurm;
  request.record.name = "demo";
  request.record.cluster = ClusterKind::kSlurm;
  request.secret = "00ff";
  request.command = {"/opt/dslaunch", "supervise"};
  return request;
}

class SlurmAllocatorTest : public ::testing::Test {
 protected:
  FakeSlurm slurm_;
  SlurmAllocator allocator_{make_fake_client(slurm_)};
};

TEST_F(SlurmAllocatorTest, RendersWhatItSubmits) {
  const auto scripts = allocator_.render(demo_request());
  ASSERT_TRUE(scripts.has_value()) << scripts.error().to_string();
  ASSERT_EQ(scripts->size(), 1u);
  EXPECT_EQ(scripts->front().name, "demo.sbatch");
  EXPECT_THAT(slurm_.submitted, IsEmpty());
  EXPECT_EQ(allocator_.start(demo_request()).value(), "1");
  EXPECT_EQ(slurm_.submitted.front().script, scripts->front().text);
  EXPECT_THAT(slurm_.submitted.front().environment, Contains("DSLAUNCH_SECRET=00ff"));
}

TEST_F(SlurmAllocatorTest, LeavesTheNameToTheOlderOfTwoJobs) {
  slurm_.add_job(5, JobState::kPending, to_comment(demo_request().record).value());
  const auto id = allocator_.start(demo_request());
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, ErrorCode::kDeploymentExists);
  EXPECT_THAT(slurm_.cancelled, ElementsAre(slurm::JobId{6}));
}

TEST_F(SlurmAllocatorTest, ReportsWhatTheJobDoes) {
  slurm::Job& job = slurm_.add_job(5, JobState::kPending, "");
  job.reason = "Resources";
  job.start_time = std::chrono::system_clock::from_time_t(4'000'000'000);
  auto status = allocator_.status("5");
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->state, AllocationState::kPending);
  EXPECT_EQ(status->reason, "Resources: the nodes it asks for are in use");
  EXPECT_EQ(status->estimated_start_unix_s, 4'000'000'000);

  job.state = JobState::kRunning;
  job.nodes = "n[1-2]";
  status = allocator_.status("5");
  EXPECT_EQ(status->state, AllocationState::kRunning);
  EXPECT_THAT(status->nodes, ElementsAre("n1", "n2"));

  job.state = JobState::kFailed;
  job.reason = "NonZeroExitCode";
  job.exit_status = 5;
  status = allocator_.status("5");
  EXPECT_EQ(status->state, AllocationState::kEnded);
  EXPECT_EQ(status->reason, "FAILED (NonZeroExitCode), exit code 5");
  EXPECT_EQ(status->exit_code, 5);
  EXPECT_FALSE(status->imposed_end) << "it ended by itself";

  job.state = JobState::kTimeout;
  EXPECT_THAT(allocator_.status("5")->imposed_end.value().message, HasSubstr("time limit"));

  EXPECT_EQ(allocator_.status("77")->state, AllocationState::kEnded);
  EXPECT_FALSE(allocator_.status("x").has_value());
}

TEST_F(SlurmAllocatorTest, AsksTheSupervisorBeforeItCancels) {
  slurm_.add_job(5, JobState::kRunning, "");
  EXPECT_TRUE(allocator_.stop("5", Deadline::after(20s)).has_value());
  EXPECT_THAT(slurm_.signalled, ElementsAre(slurm::JobId{5}));
  EXPECT_THAT(slurm_.cancelled, IsEmpty());
}

TEST_F(SlurmAllocatorTest, CancelsAJobThatDoesNotEnd) {
  slurm_.add_job(5, JobState::kRunning, "");
  slurm_.ends_when_asked = false;
  EXPECT_TRUE(allocator_.stop("5", Deadline::after(400ms)).has_value());
  EXPECT_THAT(slurm_.cancelled, ElementsAre(slurm::JobId{5}));
}

TEST_F(SlurmAllocatorTest, CancelsAPendingJobAndAcceptsAForgottenOne) {
  slurm_.add_job(5, JobState::kPending, "");
  EXPECT_TRUE(allocator_.stop("5", Deadline::after(20s)).has_value());
  EXPECT_THAT(slurm_.cancelled, ElementsAre(slurm::JobId{5}));
  EXPECT_TRUE(allocator_.stop("77", Deadline::after(20s)).has_value());
}

/// Sets variables of a job for the length of a test.
class JobVariables {
 public:
  JobVariables() {
    setenv("SLURM_JOB_NODELIST", "n[1-3]", 1);
    setenv("SLURM_JOB_CPUS_PER_NODE", "8(x2),4", 1);
    setenv("SLURM_GPUS_ON_NODE", "2", 1);
  }
  ~JobVariables() {
    for (const char* name :
         {"SLURM_JOB_NODELIST", "SLURM_JOB_CPUS_PER_NODE", "SLURM_GPUS_ON_NODE"}) {
      unsetenv(name);
    }
  }
};

TEST_F(SlurmAllocatorTest, ReadsItsNodesFromTheJobsVariables) {
  EXPECT_EQ(allocator_.nodes().error().code, ErrorCode::kSlurmUnavailable);
  const JobVariables variables;
  const auto nodes = allocator_.nodes();
  ASSERT_TRUE(nodes.has_value()) << nodes.error().to_string();
  ASSERT_EQ(nodes->size(), 3u);
  EXPECT_EQ(nodes->at(0).name, "n1");
  EXPECT_EQ(nodes->at(2).num_cpus, 4);
  EXPECT_EQ(nodes->at(2).num_gpus, 2);
}

TEST_F(SlurmAllocatorTest, StartsAgentsOnTheNodesThatAreNamed) {
  const std::string bin = ::testing::TempDir() + "/dsl-srun-" + std::to_string(getpid());
  std::filesystem::create_directories(bin);
  std::ofstream(bin + "/srun") << "#!/bin/sh\n";
  std::filesystem::permissions(bin + "/srun", std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  setenv("PATH", bin.c_str(), 1);
  const auto command = allocator_.step_command({{"n1", 8, 0}, {"n2", 8, 0}, {"n4", 8, 0}},
                                               {"/opt/dslaunch", "agent"});
  setenv("PATH", "/nonexistent", 1);
  EXPECT_EQ(allocator_.step_command({}, {}).error().code, ErrorCode::kNotFound);
  setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(bin);
  ASSERT_TRUE(command.has_value()) << command.error().to_string();
  EXPECT_EQ(command->front(), bin + "/srun");
  for (const char* word :
       {"--overlap", "--no-kill", "--nodes=3", "--ntasks=3", "--nodelist=n[1-2,4]"}) {
    EXPECT_THAT(*command, Contains(word));
  }
  EXPECT_EQ(command->at(command->size() - 2), "/opt/dslaunch");
}

}  // namespace
}  // namespace dsl::launcher
