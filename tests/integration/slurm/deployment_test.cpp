// The whole way on a real cluster: dslaunch brings the demo model up on two nodes, asks it and
// takes it down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/integration/slurm/cluster.h"
#include "transport/base/deadline.h"

namespace dsl::slurm_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::string kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";
const std::string kQuestion = "What is 47 + 85?";
const std::string kAnswer = "132";
/// Services that only answer as a test expects it.
const std::vector<std::string> kFakeServices = {"env", "DSLAUNCH_GATEWAY=" FAKE_SERVICE,
                                                "DSLAUNCH_TEXT=" FAKE_SERVICE};
/// Our live processes on a node; zombies are as good as gone.
const std::string kListOurs =
    "ps -eo stat=,comm= | grep -E '^[^Z].* (dslaunch|dsengine|dsl_fake_servic|srun)$'";

class DeploymentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = Cluster::reason_to_skip()) GTEST_SKIP() << *reason;
    cluster_ = shared_cluster();
  }

  void TearDown() override {
    if (cluster_ == nullptr) return;
    if (HasFailure()) std::puts(dslaunch({"logs", "demo"}).output.c_str());
    dslaunch({"down", "--all"});
    cluster_->on("ctl", {"scancel", "--user=root"});
    expect_nothing_left();
  }

  /// Runs dslaunch on the login node with a home of the cluster's own.
  Finished dslaunch(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& before = {}) const {
    std::vector<std::string> command = in_home();
    command.insert(command.end(), before.begin(), before.end());
    command.emplace_back(DSLAUNCH);
    command.insert(command.end(), arguments.begin(), arguments.end());
    return cluster_->on("ctl", command);
  }

  std::vector<std::string> in_home() const {
    return {"env",
            "-u",
            "XDG_RUNTIME_DIR",
            "-u",
            "XDG_STATE_HOME",
            "-u",
            "DSLAUNCH_SECRET",
            "HOME=" + (cluster_->folder() / "home").string()};
  }

  Finished up(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"up",        kModel, "--cluster", "slurm", "-N",
                                       "2",         "--tp", "2",         "--pp",  "2",
                                       "--threads", "1",    "--name",    "demo",  "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return dslaunch(arguments);
  }

  /// The last line of an output, as JSON: progress stands before it.
  static json last_line(const Finished& finished) {
    std::string text = finished.output;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const json object = json::parse(text.substr(text.rfind('\n') + 1), nullptr, false);
    EXPECT_FALSE(object.is_discarded()) << finished.output;
    return object;
  }

  void expect_right_answer() const {
    const Finished answer = dslaunch(
        {"generate", "--deployment", "demo", "--chat", kQuestion, "--max-tokens", "200", "--json"});
    ASSERT_EQ(answer.exit_status, 0) << answer.output;
    EXPECT_THAT(last_line(answer)["text"].get<std::string>(), HasSubstr(kAnswer));
  }

  /// Polls `dslaunch status demo` until the state is `wanted`.
  json wait_for_state(const std::string& wanted, std::chrono::seconds patience) const {
    const Deadline deadline = Deadline::after(patience);
    while (true) {
      const Finished status = dslaunch({"status", "demo", "--json"});
      const json record = status.exit_status == 0 ? last_line(status) : json::object();
      if (record.value("state", "") == wanted) return record;
      if (deadline.expired()) {
        ADD_FAILURE() << "not " << wanted << ": " << status.output;
        return record;
      }
      std::this_thread::sleep_for(100ms);  // status is polled: nothing announces a change
    }
  }

  /// Names of the jobs that live.
  std::vector<std::string> jobs() const {
    std::istringstream lines(cluster_->on("ctl", {"squeue", "-h", "--format=%j"}).output);
    std::vector<std::string> names;
    for (std::string name; lines >> name;) names.push_back(name);
    return names;
  }

  /// Entries of a role that `status` shows.
  int count_entries(const std::string& role) const {
    const Finished status = dslaunch({"status", "demo", "--json"});
    if (status.exit_status != 0) return -1;
    int count = 0;
    const json record = last_line(status);
    for (const json& entry : record["services"]) count += entry["role"] == role ? 1 : 0;
    return count;
  }

  template <typename Condition>
  static bool becomes(Condition condition, std::chrono::seconds patience) {
    const Deadline deadline = Deadline::after(patience);
    while (!condition()) {
      if (deadline.expired()) return false;
      std::this_thread::sleep_for(100ms);  // status is polled: nothing announces a change
    }
    return true;
  }

  void expect_nothing_left() const {
    const Deadline deadline = Deadline::after(20s);
    std::string jobs, processes;
    do {
      jobs = cluster_->on("ctl", {"squeue", "-h"}).output;
      processes.clear();
      for (const char* node : {"n1", "n2", "n3", "n4"}) {
        processes += cluster_->on(node, {"bash", "-c", kListOurs}).output;
      }
      if (jobs.empty() && processes.empty()) return;
      std::this_thread::sleep_for(50ms);
    } while (!deadline.expired());
    EXPECT_THAT(jobs, IsEmpty());
    EXPECT_THAT(processes, IsEmpty());
  }

  Cluster* cluster_ = nullptr;
};

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
  const Finished secret =
      cluster_->on("ctl", {"bash", "-c", "cat \"$0\"/.local/state/dslaunch/secrets/*",
                           (cluster_->folder() / "home").string()});
  ASSERT_GE(secret.output.size(), 32u) << secret.output;
  const std::string job = last_line(dslaunch({"status", "demo", "--json"}))["allocation"];
  EXPECT_THAT(cluster_->on("ctl", {"scontrol", "show", "job", job}).output,
              Not(HasSubstr(secret.output)));
  EXPECT_THAT(cluster_->on("ctl", {"scontrol", "write", "batch_script", job, "-"}).output,
              Not(HasSubstr(secret.output)));
  EXPECT_THAT(run({"ps", "-eo", "args"}).output, Not(HasSubstr(secret.output)));
  EXPECT_THAT(dslaunch({"logs", "demo"}).output, Not(HasSubstr(secret.output)));
}

TEST_F(DeploymentTest, ReplicasAndServicesAreJobsAndDownLeavesNone) {
  const Finished brought_up =
      dslaunch({"up", kModel, "--cluster", "slurm", "-N", "1", "--threads", "1", "--name", "demo",
                "--replicas", "2", "--gateways", "1", "--preprocess", "1", "--json"},
               kFakeServices);
  ASSERT_EQ(brought_up.exit_status, 0) << brought_up.output;
  const json ready = last_line(brought_up);
  EXPECT_EQ(ready["replicas"].size(), 2u);
  // The gateway listens on its node's address, which the login node reaches.
  EXPECT_THAT(ready["url"].get<std::string>(), ::testing::StartsWith("http://10.77.0."));
  EXPECT_THAT(jobs(), ::testing::UnorderedElementsAre("demo", "demo-1", "demo-services"));

  const json status = last_line(dslaunch({"status", "demo", "--json"}));
  EXPECT_EQ(status["controller"]["state"], "ready");
  EXPECT_TRUE(becomes([&] { return count_entries("engine") == 2; }, 10s));
  const Finished answer = dslaunch({"complete", "demo", "--prompt", "x"});
  EXPECT_EQ(answer.output, "forty\n");
  const Finished scaled = dslaunch({"scale", "demo", "--preprocess", "0", "--gateways", "2"});
  EXPECT_EQ(scaled.exit_status, 0) << scaled.output;

  // A replica that goes is known to the gateways within two seconds; up brings it back.
  EXPECT_EQ(cluster_->on("ctl", {"scancel", "--name=demo-1"}).exit_status, 0);
  EXPECT_TRUE(becomes([&] { return count_entries("engine") == 1; }, 10s));
  const Finished again =
      dslaunch({"up", kModel, "--cluster", "slurm", "-N", "1", "--threads", "1", "--name", "demo",
                "--replicas", "2", "--gateways", "2", "--json"},
               kFakeServices);
  ASSERT_EQ(again.exit_status, 0) << again.output;
  EXPECT_TRUE(becomes([&] { return count_entries("engine") == 2; }, 10s));

  const Finished down = dslaunch({"down", "demo"});
  EXPECT_EQ(down.exit_status, 0) << down.output;
  EXPECT_THAT(jobs(), IsEmpty());
  const auto state = cluster_->folder() / "home/.local/state/dslaunch";
  EXPECT_TRUE(std::filesystem::is_empty(state / "deployments"));
  EXPECT_TRUE(std::filesystem::is_empty(state / "secrets"));
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
  EXPECT_EQ(dslaunch({"down", "demo"}).exit_status, 0);
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
