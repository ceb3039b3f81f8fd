// The OpenAI interface of a deployment on a real cluster, as a client on the login node meets it.
#include <gmock/gmock.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>

#include "tests/integration/slurm/deployment_fixture.h"

namespace dsl::slurm_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class OpenAiTest : public DeploymentTest {
 protected:
  std::string base_url() const {
    const Finished url = dslaunch({"url", "demo"});
    return url.exit_status == 0 ? url.output.substr(0, url.output.find('\n')) : "";
  }

  /// A streamed answer to the question at `base`, with the key that `dslaunch env` prints.
  Finished ask(const std::string& base) const {
    const json body = {{"model", "demo"},
                       {"stream", true},
                       {"temperature", 0},
                       {"messages", {{{"role", "user"}, {"content", kQuestion}}}}};
    const json env = last_line(dslaunch({"env", "demo", "--json"}));
    const std::string key = env["OPENAI_API_KEY"];
    return cluster_->on(
        "ctl", {"curl", "--silent", "--show-error", "--fail-with-body", "--no-buffer", "--max-time",
                "30", base + "/chat/completions", "-H", "Authorization: Bearer " + key, "-H",
                "Content-Type: application/json", "-d", body.dump()});
  }

  /// How many chunks there are is a matter of timing: tokens that wait for a slow client go out
  /// together. The end of the answer is always one of its own.
  static void expect_right_stream(const Finished& answer) {
    ASSERT_EQ(answer.exit_status, 0) << answer.output;
    std::string content;
    int num_chunks = 0;
    bool is_done = false;
    std::istringstream lines(answer.output);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("data: ")) continue;
      is_done = line == "data: [DONE]";
      if (is_done) break;
      const json chunk = json::parse(line.substr(6));
      ++num_chunks;
      for (const json& choice : chunk.at("choices")) {
        const json& delta = choice.at("delta");
        if (!delta.contains("content") || !delta["content"].is_string()) continue;
        content += delta["content"].get<std::string>();
      }
    }
    EXPECT_THAT(content, HasSubstr(kAnswer)) << answer.output;
    EXPECT_GT(num_chunks, 1) << answer.output;
    EXPECT_TRUE(is_done) << answer.output;
  }
};

/// Milliseconds since the epoch of the line of a gateway's log that says it is ready at `endpoint`;
/// 0 when there is none.
std::int64_t ready_time_ms(const std::filesystem::path& log, const std::string& endpoint) {
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) {
    if (line.find("ready at " + endpoint) == std::string::npos) continue;
    std::tm time{};
    int milliseconds = 0;
    if (std::sscanf(line.c_str(), "%d-%d-%dT%d:%d:%d.%d", &time.tm_year, &time.tm_mon,
                    &time.tm_mday, &time.tm_hour, &time.tm_min, &time.tm_sec, &milliseconds) != 7) {
      return 0;
    }
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    time.tm_isdst = -1;
    return std::mktime(&time) * 1000 + milliseconds;
  }
  return 0;
}

std::int64_t write_time_ms(const std::filesystem::path& path) {
  const auto written = std::chrono::file_clock::to_sys(std::filesystem::last_write_time(path));
  return std::chrono::duration_cast<std::chrono::milliseconds>(written.time_since_epoch()).count();
}

TEST_F(OpenAiTest, UpAloneServesIt) {
  const Finished brought_up = up();
  ASSERT_EQ(brought_up.exit_status, 0) << brought_up.output;
  EXPECT_THAT(jobs(), ::testing::UnorderedElementsAre("demo", "demo-services"));
  // The gateway listens on its node's address, which the login node reaches.
  EXPECT_THAT(base_url(), StartsWith("http://10.77.0."));
  EXPECT_EQ(last_line(brought_up)["url"].get<std::string>() + "/v1", base_url());
  expect_right_stream(ask(base_url()));
  EXPECT_THAT(dslaunch({"complete", "demo", "--prompt", "47 + 85 ="}).exit_status, 0);

  const Finished down = dslaunch({"down", "demo"});
  EXPECT_EQ(down.exit_status, 0) << down.output;
  EXPECT_THAT(jobs(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(state_folder() / "deployments"));
  EXPECT_TRUE(std::filesystem::is_empty(state_folder() / "secrets"));
}

TEST_F(OpenAiTest, UpSaysThatTheServicesFindNoRoomThoughTheEngineIsUp) {
  // The replica takes all of the partition's only node.
  const std::string up_until_told =
      "\"$@\" 2>\"$HOME/told\" & until grep -q -e '--gateways 0' \"$HOME/told\"; do sleep 0.1; "
      "done;"
      "kill -INT $!; wait $!; cat \"$HOME/told\"";
  const Finished waited = dslaunch({"up", kModel, "--cluster", "slurm", "-p", "small", "-N", "1",
                                    "--exclusive", "--threads", "1", "--name", "demo"},
                                   {"timeout", "60", "bash", "-mc", up_until_told, "up"});
  EXPECT_THAT(waited.output, HasSubstr("the engine is up"));
  EXPECT_THAT(waited.output, HasSubstr("Resources"));
  EXPECT_THAT(waited.output, HasSubstr("2 free CPUs on one node of partition small"));
  EXPECT_THAT(waited.output, HasSubstr("DSL-105"));
  EXPECT_THAT(jobs(), IsEmpty());
}

TEST_F(OpenAiTest, ADeploymentDoesNotWaitForItsOwnServices) {
  // Until this job of somebody else ends, services would find room only where the replica shall be.
  const Finished other =
      cluster_->on("ctl", {"sbatch", "-w", "n[1-2]", "-N2", "--exclusive", "--job-name=other",
                           "--output=/dev/null", "--wrap=sleep 3"});
  ASSERT_EQ(other.exit_status, 0) << other.output;
  const Finished brought_up =
      dslaunch({"up", kModel, "--cluster", "slurm", "-w", "n[2-4]", "-N", "3", "--exclusive",
                "--pp", "3", "--threads", "1", "--name", "demo", "--json"},
               {"timeout", "-s", "INT", "60"});
  ASSERT_EQ(brought_up.exit_status, 0) << brought_up.output;
  EXPECT_THAT(brought_up.output, HasSubstr("waits for nodes"));
  EXPECT_THAT(jobs(), ::testing::UnorderedElementsAre("demo", "demo-services"));
}

TEST_F(OpenAiTest, AKilledGatewayComesBackAndIsAnnounced) {
  ASSERT_EQ(up().exit_status, 0);
  const std::string before = base_url();
  const std::vector<json> gateways = entries("gateway");
  ASSERT_EQ(gateways.size(), 1u);
  const std::string host = gateways[0]["host"];
  const std::int64_t pid = gateways[0]["pid"];
  ASSERT_EQ(cluster_->on(host, {"kill", "-KILL", std::to_string(pid)}).exit_status, 0);

  json back;
  ASSERT_TRUE(becomes(
      [&] {
        const std::vector<json> now = entries("gateway");
        if (now.size() == 1 && now[0]["pid"] != pid) back = now[0];
        return !back.is_null();
      },
      20s));
  const std::int64_t ready_ms =
      ready_time_ms(state_folder() / "logs/demo/gateway-0.log", back["endpoint"]);
  ASSERT_NE(ready_ms, 0) << back;
  const std::int64_t announced_ms =
      write_time_ms(state_folder() / "deployments/demo/services/gateway-0.json");
  EXPECT_LT(announced_ms - ready_ms, 2000);
  RecordProperty("announced_after_ms", static_cast<int>(announced_ms - ready_ms));
  EXPECT_EQ(base_url(), back["url"].get<std::string>() + "/v1");
  expect_right_stream(ask(base_url()));
}

TEST_F(OpenAiTest, ReplicasAndServicesAreJobsAndDownLeavesNone) {
  const std::vector<std::string> arguments = {
      "up",     kModel, "--cluster",  "slurm", "-N",           "1", "--threads", "1",
      "--name", "demo", "--replicas", "2",     "--preprocess", "1", "--json"};
  const Finished brought_up = dslaunch(arguments);
  ASSERT_EQ(brought_up.exit_status, 0) << brought_up.output;
  EXPECT_EQ(last_line(brought_up)["replicas"].size(), 2u);
  EXPECT_THAT(jobs(), ::testing::UnorderedElementsAre("demo", "demo-1", "demo-services"));
  EXPECT_EQ(last_line(dslaunch({"status", "demo", "--json"}))["controller"]["state"], "ready");
  EXPECT_TRUE(becomes([&] { return entries("engine").size() == 2; }, 10s));
  expect_right_stream(ask(base_url()));
  const Finished scaled = dslaunch({"scale", "demo", "--preprocess", "0", "--gateways", "2"});
  EXPECT_EQ(scaled.exit_status, 0) << scaled.output;

  // A replica that goes is known to the gateways; up brings it back.
  EXPECT_EQ(cluster_->on("ctl", {"scancel", "--name=demo-1"}).exit_status, 0);
  EXPECT_TRUE(becomes([&] { return entries("engine").size() == 1; }, 10s));
  const json degraded = wait_for_state("degraded", 10s);
  EXPECT_THAT(degraded["lost_replicas"].dump(), HasSubstr("CANCELLED"));
  EXPECT_THAT(dslaunch({"status"}).output, HasSubstr(" 1/2 "));
  expect_right_stream(ask(base_url()));
  const Finished again = dslaunch(arguments);
  ASSERT_EQ(again.exit_status, 0) << again.output;
  EXPECT_TRUE(becomes([&] { return entries("engine").size() == 2; }, 10s));
}

}  // namespace
}  // namespace dsl::slurm_test
