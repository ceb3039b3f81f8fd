#include "tests/integration/slurm/deployment_fixture.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <sstream>

namespace dsl::slurm_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Our live processes on a node; zombies are as good as gone.
const std::string kListOurs =
    "ps -eo stat=,comm= | grep -E '^[^Z].* (dslaunch|dsengine|dsgateway|dstext|srun)$'";

}  // namespace

void DeploymentTest::SetUp() {
  if (const auto reason = Cluster::reason_to_skip()) GTEST_SKIP() << *reason;
  cluster_ = shared_cluster();
}

void DeploymentTest::TearDown() {
  if (cluster_ == nullptr) return;
  if (HasFailure()) std::puts(dslaunch({"logs", "demo"}).output.c_str());
  dslaunch({"down", "--all"});
  cluster_->on("ctl", {"scancel", "--user=root"});
  expect_nothing_left();
}

Finished DeploymentTest::dslaunch(const std::vector<std::string>& arguments,
                                  const std::vector<std::string>& before) const {
  std::vector<std::string> command = in_home();
  command.insert(command.end(), before.begin(), before.end());
  command.emplace_back(DSLAUNCH);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return cluster_->on("ctl", command);
}

Finished DeploymentTest::up(const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{"up",        kModel, "--cluster", "slurm", "-N",
                                     "2",         "--tp", "2",         "--pp",  "2",
                                     "--threads", "1",    "--name",    "demo",  "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return dslaunch(arguments);
}

std::vector<std::string> DeploymentTest::in_home() const {
  return {"env",
          "-u",
          "XDG_STATE_HOME",
          "-u",
          "DSLAUNCH_SECRET",
          "HOME=" + (cluster_->folder() / "home").string()};
}

std::filesystem::path DeploymentTest::state_folder() const {
  return cluster_->folder() / "home/.local/state/dslaunch";
}

json DeploymentTest::last_line(const Finished& finished) {
  std::string text = finished.output;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const json object = json::parse(text.substr(text.rfind('\n') + 1), nullptr, false);
  EXPECT_FALSE(object.is_discarded()) << finished.output;
  return object;
}

void DeploymentTest::expect_right_answer() const {
  const Finished answer = dslaunch(
      {"generate", "--deployment", "demo", "--chat", kQuestion, "--max-tokens", "200", "--json"});
  ASSERT_EQ(answer.exit_status, 0) << answer.output;
  EXPECT_THAT(last_line(answer)["text"].get<std::string>(), HasSubstr(kAnswer));
}

json DeploymentTest::wait_for_state(const std::string& wanted,
                                    std::chrono::seconds patience) const {
  json record;
  const auto is_reached = [&] {
    const Finished status = dslaunch({"status", "demo", "--json"});
    record = status.exit_status == 0 ? last_line(status) : json::object();
    return record.value("state", "") == wanted;
  };
  EXPECT_TRUE(becomes(is_reached, patience)) << "not " << wanted << ": " << record;
  return record;
}

std::vector<json> DeploymentTest::entries(const std::string& role) const {
  std::vector<json> found;
  const Finished status = dslaunch({"status", "demo", "--json"});
  if (status.exit_status != 0) return found;
  const json record = last_line(status);
  for (const json& entry : record["services"]) {
    if (entry["role"] == role) found.push_back(entry);
  }
  return found;
}

std::vector<std::string> DeploymentTest::jobs() const {
  std::istringstream lines(cluster_->on("ctl", {"squeue", "-h", "--format=%j"}).output);
  std::vector<std::string> names;
  for (std::string name; lines >> name;) names.push_back(name);
  return names;
}

void DeploymentTest::expect_nothing_left() const {
  std::string jobs, processes;
  const auto is_empty = [&] {
    jobs = cluster_->on("ctl", {"squeue", "-h"}).output;
    processes.clear();
    for (const char* node : {"n1", "n2", "n3", "n4"}) {
      processes += cluster_->on(node, {"bash", "-c", kListOurs}).output;
    }
    return jobs.empty() && processes.empty();
  };
  if (becomes(is_empty, 20s)) return;
  EXPECT_THAT(jobs, IsEmpty());
  EXPECT_THAT(processes, IsEmpty());
}

}  // namespace dsl::slurm_test
