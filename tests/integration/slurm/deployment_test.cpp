// The whole way on a real cluster: dslaunch brings the demo model up on two nodes, asks it and
// takes it down.
#include <gmock/gmock.h>

#include "tests/integration/slurm/deployment_fixture.h"

namespace dsl::slurm_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(DeploymentTest, UpAnswersAndDownLeavesNothing) {
  const Finished brought_up = up();
  ASSERT_EQ(brought_up.exit_status, 0) << brought_up.output;
  const json ready = last_line(brought_up);
  EXPECT_EQ(ready["state"], "ready");
  EXPECT_EQ(ready["nodes"], (json{"n1", "n2"}));

  expect_right_answer();
  const json status = last_line(dslaunch({"status", "demo", "--json"}));
  EXPECT_EQ(status["state"], "ready");
  EXPECT_EQ(status["world"]["tp"], 2);
  const Finished logs = dslaunch({"logs", "demo"});
  EXPECT_EQ(logs.exit_status, 0);
  EXPECT_THAT(logs.output, HasSubstr("supervisor"));

  const Finished again = up();
  EXPECT_EQ(again.exit_status, 2) << again.output;
  EXPECT_THAT(again.output, HasSubstr("\"demo\\\" is ready already"));

  const Finished down = dslaunch({"down", "demo"});
  EXPECT_EQ(down.exit_status, 0) << down.output;
  EXPECT_THAT(cluster_->on("ctl", {"squeue", "-h"}).output, IsEmpty());
  EXPECT_THAT(dslaunch({"status", "--json"}).output, Not(HasSubstr("demo")));
}

TEST_F(DeploymentTest, TheSecretIsInNoArgumentScriptOrComment) {
  ASSERT_EQ(up().exit_status, 0);
  const Finished secret = cluster_->on(
      "ctl", {"bash", "-c", "head -qn1 \"$0\"/secrets/* | tr -d '\\n'", state_folder().string()});
  ASSERT_EQ(secret.output.size(), 64u) << secret.output;
  const std::string job = last_line(dslaunch({"status", "demo", "--json"}))["allocation"];
  EXPECT_THAT(cluster_->on("ctl", {"scontrol", "show", "job", job}).output,
              Not(HasSubstr(secret.output)));
  EXPECT_THAT(cluster_->on("ctl", {"scontrol", "write", "batch_script", job, "-"}).output,
              Not(HasSubstr(secret.output)));
  EXPECT_THAT(run({"ps", "-eo", "args"}).output, Not(HasSubstr(secret.output)));
  EXPECT_THAT(dslaunch({"logs", "demo"}).output, Not(HasSubstr(secret.output)));
}

TEST_F(DeploymentTest, SbatchServesWithoutTheCommandLine) {
  std::vector<std::string> command = in_home();
  command.insert(command.end(),
                 {"MODEL=" + kModel, "DSLAUNCH=" DSLAUNCH, "sbatch",
                  "--output=" + (cluster_->folder() / "log/serve.log").string(), SERVE_SBATCH});
  const Finished sbatch = cluster_->on("ctl", command);
  ASSERT_EQ(sbatch.exit_status, 0) << sbatch.output;
  wait_for_state("ready", 60s);
  expect_right_answer();
  EXPECT_THAT(dslaunch({"logs", "demo"}).output, HasSubstr("supervisor | "));
  EXPECT_THAT(jobs(), ::testing::ElementsAre("demo"));
  const Finished with_gateway = up();
  ASSERT_EQ(with_gateway.exit_status, 0) << with_gateway.output;
  EXPECT_THAT(jobs(), ::testing::UnorderedElementsAre("demo", "demo-services"));
  EXPECT_THAT(dslaunch({"url", "demo"}).output, ::testing::StartsWith("http://10.77.0."));
  EXPECT_EQ(dslaunch({"down", "demo"}).exit_status, 0);
}

TEST_F(DeploymentTest, WhatACancelledJobLeavesGoesWithTheNextStatus) {
  ASSERT_EQ(up({"-w", "n[3-4]", "--gateways", "0"}).exit_status, 0);
  ASSERT_EQ(dslaunch({"status"}).exit_status, 0);
  EXPECT_FALSE(std::filesystem::is_empty(state_folder() / "secrets")) << "it lives";
  // The supervisor dies with its node: nobody can clean up.
  ASSERT_EQ(cluster_->control("crash", "n3").exit_status, 0);
  ASSERT_EQ(cluster_->on("ctl", {"scancel", "--name=demo"}).exit_status, 0);
  ASSERT_EQ(cluster_->control("boot", "n3").exit_status, 0);
  EXPECT_FALSE(std::filesystem::is_empty(state_folder() / "secrets"));
  EXPECT_THAT(dslaunch({"status"}).output, HasSubstr("no deployments"));
  EXPECT_TRUE(std::filesystem::is_empty(state_folder() / "secrets"));
}

TEST_F(DeploymentTest, TheTimeLimitIsTheReasonThoughTheSupervisorEndsInGoodOrder) {
  ASSERT_EQ(up({"-t", "1"}).exit_status, 0);
  const std::string job = last_line(dslaunch({"status", "demo", "--json"}))["allocation"];
  // Slurm looks at time limits twice a minute.
  ASSERT_EQ(cluster_->on("ctl", {"scontrol", "update", "JobId=" + job, "EndTime=now"}).exit_status,
            0);
  const json record = wait_for_state("failed", 60s);
  EXPECT_THAT(record["error"]["message"].get<std::string>(), HasSubstr("time limit of 00:01:00"));
  EXPECT_THAT(record["error"]["remedy"].get<std::string>(), HasSubstr("larger --time"));
  expect_nothing_left();
  EXPECT_THAT(dslaunch({"status"}).output, HasSubstr("failed")) << "it stays known";
  EXPECT_THAT(dslaunch({"logs", "demo"}).output, HasSubstr("stopped by SIGTERM"));
}

TEST_F(DeploymentTest, AKilledRankIsNamedAndTheJobEnds) {
  ASSERT_EQ(up().exit_status, 0);
  ASSERT_EQ(cluster_->on("n2", {"pkill", "-KILL", "-o", "dsengine"}).exit_status, 0);
  const json record = wait_for_state("failed", 20s);
  EXPECT_THAT(record["error"]["message"].get<std::string>(), HasSubstr("rank 2"));
  expect_nothing_left();
}

TEST_F(DeploymentTest, ALostNodeIsAnErrorAndTheJobEnds) {
  ASSERT_EQ(up({"-w", "n[3-4]"}).exit_status, 0);
  ASSERT_EQ(cluster_->control("crash", "n4").exit_status, 0);
  const json record = wait_for_state("failed", 30s);
  EXPECT_THAT(record["error"]["message"].get<std::string>(), HasSubstr("rank"));
  ASSERT_EQ(cluster_->control("boot", "n4").exit_status, 0);
}

TEST_F(DeploymentTest, AnUnknownPartitionIsOneLineThatListsTheKnownOnes) {
  const Finished refused = up({"-p", "gpuu"});
  EXPECT_EQ(refused.exit_status, 4) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("main, small, closed"));
  EXPECT_THAT(dslaunch({"status", "--json"}).output, Not(HasSubstr("demo")));
}

TEST_F(DeploymentTest, AnInterruptedUpLeavesNoJob) {
  const Finished interrupted = dslaunch({"up", kModel, "--cluster", "slurm", "--name", "demo",
                                         "--begin", "now+1hour", "-N", "2", "--pp", "2"},
                                        {"timeout", "-s", "INT", "2"});
  EXPECT_NE(interrupted.exit_status, 0) << interrupted.output;
  EXPECT_THAT(cluster_->on("ctl", {"squeue", "-h"}).output, IsEmpty());
  // It had been submitted: the newest job of that name was cancelled before it ran.
  const std::vector<std::string> newest{"squeue",      "-h",        "--states=all",
                                        "--name=demo", "--sort=-i", "--format=%T %M"};
  EXPECT_THAT(cluster_->on("ctl", newest).output, ::testing::StartsWith("CANCELLED 0:00"));
}

}  // namespace
}  // namespace dsl::slurm_test
