// Deployments of several parts: replicas, and services that the controller holds. The services are
// fakes that only say that they are ready; the replicas are real.
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/e2e/cli_process.h"

namespace dsl::e2e {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ServicesTest : public testing::Test {
 protected:
  ServicesTest() {
    home_.set("DSLAUNCH_GATEWAY", DSL_FAKE_SERVICE);
    home_.set("DSLAUNCH_TEXT", DSL_FAKE_SERVICE);
  }
  void TearDown() override {
    if (HasFailure()) std::puts(home_.run({"logs", "demo"}).out.c_str());
    home_.run({"down", "--all"});
    EXPECT_TRUE(home_.is_quiet()) << "a process is left";
    for (const char* folder : {"deployments", "secrets"}) {
      const std::filesystem::path path = home_.path() / ".local/state/dslaunch" / folder;
      EXPECT_TRUE(!std::filesystem::exists(path) || std::filesystem::is_empty(path)) << path;
    }
  }

  CliResult up(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"up", kModel, "--name", "demo", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return home_.run(arguments, seconds(120));
  }
  json status() {
    const CliResult result = home_.run({"status", "demo", "--json"});
    return result.exit_code == 0 ? json::parse(result.out) : json::object();
  }
  /// How many services of a role are ready.
  int num_ready(const std::string& role) {
    int count = 0;
    const json now = status();
    for (const json& entry : now.value("services", json::array())) {
      if (entry["role"] == role && entry["state"] == "ready") ++count;
    }
    return count;
  }

  CliHome home_;
};

TEST_F(ServicesTest, LiveFromUpToDownAndFollowScale) {
  const CliResult started = up({"--gateways", "1", "--preprocess", "1", "--json"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(json::parse(started.out).at("url").get<std::string>(),
              StartsWith("http://127.0.0.1:"));
  EXPECT_EQ(num_ready("engine"), 1) << "the gateway has seen it";
  EXPECT_EQ(num_ready("gateway"), 1);
  EXPECT_EQ(num_ready("preprocess"), 1);

  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(home_.run({"scale", "demo", "--preprocess", "3", "--no-wait"}).exit_code, 0);
  EXPECT_TRUE(eventually(seconds(20), [&] { return num_ready("preprocess") == 3; }));
  RecordProperty("follow_ms",
                 static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                      std::chrono::steady_clock::now() - begin)
                                      .count()));
  const CliResult back = home_.run({"scale", "demo", "--preprocess", "1", "--gateways", "2"});
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(num_ready("preprocess"), 1);
  EXPECT_EQ(num_ready("gateway"), 2);

  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
}

TEST_F(ServicesTest, KeysAreForTheirOwnerAlone) {
  ASSERT_EQ(up({"--gateways", "1"}).exit_code, 0);
  const CliResult env = home_.run({"env", "demo"});
  EXPECT_THAT(env.out, StartsWith("export OPENAI_BASE_URL=http://127.0.0.1:"));
  const json named = json::parse(home_.run({"env", "demo", "--json"}).out);
  const std::string key = named.at("OPENAI_API_KEY").get<std::string>();
  EXPECT_THAT(key, StartsWith("sk-"));
  EXPECT_THAT(home_.run({"url", "demo"}).out, HasSubstr("/v1\n"));

  const CliResult added =
      home_.run({"keys", "demo", "add", "team-1", "--requests-per-minute", "60", "--json"});
  ASSERT_EQ(added.exit_code, 0) << added.err;
  const std::string second = json::parse(added.out).at("key").get<std::string>();
  EXPECT_NE(second, key);
  EXPECT_EQ(home_.run({"keys", "demo", "add", "team-1"}).exit_code, 2);
  EXPECT_THAT(home_.run({"keys", "demo", "list"}).out, HasSubstr("team-1"));
  EXPECT_EQ(home_.run({"keys", "demo", "revoke", "team-1"}).exit_code, 0);
  EXPECT_EQ(home_.run({"keys", "demo", "revoke", "team-1"}).exit_code, 3);

  for (const std::string& text : {key, second}) {
    EXPECT_TRUE(home_.processes({text}).empty()) << "in a command line";
    EXPECT_EQ(home_.run({"logs", "demo"}).out.find(text), std::string::npos);
  }
  const std::filesystem::path folder = home_.path() / ".local/state/dslaunch/deployments/demo";
  EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms(0700));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms(0600)) << entry.path();
    if (entry.path().filename() == "api-key") continue;
    std::ifstream file(entry.path());
    const std::string content(std::istreambuf_iterator<char>(file), {});
    EXPECT_EQ(content.find(key), std::string::npos) << entry.path();
  }
}

TEST_F(ServicesTest, TheDefaultKeyIsReplaced) {
  ASSERT_EQ(up({"--gateways", "1"}).exit_code, 0);
  const std::string first = home_.run({"env", "demo"}).out;
  ASSERT_EQ(home_.run({"keys", "demo", "revoke", "default"}).exit_code, 0);
  home_.set("OPENAI_API_KEY", "sk-of-another-service");
  const CliResult without = home_.run({"env", "demo"});
  EXPECT_EQ(without.exit_code, 3);
  EXPECT_EQ(without.out, "");
  EXPECT_THAT(without.err, HasSubstr("keys demo add default"));
  EXPECT_EQ(home_.run({"complete", "demo", "--prompt", "x"}).out, "forty\n") << "the fallback";
  const CliResult added = home_.run({"keys", "demo", "add", "default", "--json"});
  ASSERT_EQ(added.exit_code, 0) << added.err;
  const std::string key = json::parse(added.out).at("key").get<std::string>();
  EXPECT_THAT(home_.run({"env", "demo"}).out, HasSubstr("OPENAI_API_KEY=" + key + "\n"));
  EXPECT_NE(home_.run({"env", "demo"}).out, first);

  const std::filesystem::path file = home_.path() / "key";
  std::ofstream(file) << key << "\n";
  std::filesystem::permissions(file, std::filesystem::perms(0600));
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"complete", "demo", "--prompt", "x"},
        {"bench", "serve", "demo", "--concurrency", "1", "--num-requests", "1"}}) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--api-key-file", file.string()});
    const CliResult result = home_.run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
}

TEST_F(ServicesTest, TalkThroughTheGateway) {
  ASSERT_EQ(up({"--gateways", "1"}).exit_code, 0);
  const CliResult completed = home_.run({"complete", "demo", "--prompt", "six times seven"});
  EXPECT_EQ(completed.out, "forty\n") << completed.err;
  const CliResult chat = home_.run({"chat", "demo", "--json"}, seconds(30), "hello\n\nagain\n");
  ASSERT_EQ(chat.exit_code, 0) << chat.err;
  const json answer = json::parse(chat.out.substr(0, chat.out.find('\n')));
  EXPECT_EQ(answer.at("content"), "forty");
  EXPECT_EQ(answer.at("reasoning_content"), "hm");
  EXPECT_EQ(std::count(chat.out.begin(), chat.out.end(), '\n'), 2) << chat.out;
  EXPECT_EQ(home_.run({"chat", "demo"}, seconds(30), "hello\n").out, "forty\n");

  const CliResult bench =
      home_.run({"bench", "serve", "demo", "--concurrency", "8", "--num-requests", "40", "--json"});
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  const json figures = json::parse(bench.out);
  EXPECT_EQ(figures.at("num_ok"), 40);
  EXPECT_GT(figures.at("goodput_requests_per_s").get<double>(), 0);
  EXPECT_EQ(
      json::parse(
          home_.run({"bench", "serve", "demo", "--rate", "100", "--num-requests", "20", "--json"})
              .out)
          .at("num_ok"),
      20);

  const CliResult top = home_.run({"top", "demo", "--once", "--json", "--interval", "0.2"});
  ASSERT_EQ(top.exit_code, 0) << top.err;
  bool found = false;
  const json load = json::parse(top.out);
  for (const json& service : load.at("services")) {
    if (service["id"] == "gateway-0") found = service["num_running"] == 7;
  }
  EXPECT_TRUE(found) << top.out;
}

TEST_F(ServicesTest, AKilledControllerTakesItsServicesAlongAndUpBringsThemBack) {
  ASSERT_EQ(up({"--gateways", "1", "--postprocess", "1"}).exit_code, 0);
  const std::string key = json::parse(home_.run({"env", "demo", "--json"}).out)["OPENAI_API_KEY"];
  const std::string url = home_.run({"url", "demo"}).out;
  ::kill(home_.wait_for_process({"dslaunch", " control "}), SIGKILL);
  EXPECT_TRUE(
      eventually(seconds(5), [&] { return home_.processes({"dsl_fake_service"}).empty(); }));
  EXPECT_EQ(status().at("controller").at("state"), "lost");
  EXPECT_THAT(home_.run({"status", "demo"}).out, HasSubstr("controller  lost"));
  EXPECT_THAT(home_.run({"url", "demo"}).err, HasSubstr("DSL-603"));
  const pid_t rank = home_.wait_for_process({"dsengine"});

  const CliResult again = up({"--gateways", "1", "--postprocess", "1"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(num_ready("postprocess"), 1);
  EXPECT_EQ(home_.wait_for_process({"dsengine"}), rank) << "the replica was left alone";
  const json env = json::parse(home_.run({"env", "demo", "--json"}).out);
  EXPECT_EQ(env["OPENAI_API_KEY"], key) << "clients keep their key";
  EXPECT_EQ(home_.run({"url", "demo"}).out, url) << "and their address";
  EXPECT_THAT(up({"--gateways", "1"}).err, StartsWith("DSL-600")) << "nothing is missing now";
}

TEST_F(ServicesTest, AServiceThatCannotStartFailsUpAndLeavesNothing) {
  home_.set("DSLAUNCH_TEXT", "/bin/false");
  const CliResult failed = up({"--preprocess", "1"});
  EXPECT_EQ(failed.exit_code, 5) << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("DSL-604 ServiceFailed: preprocess-0: "));
  EXPECT_TRUE(home_.is_quiet());
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
}

TEST_F(ServicesTest, ServicesEndWithTheLastReplica) {
  ASSERT_EQ(up({"--gateways", "1"}).exit_code, 0);
  ::kill(home_.wait_for_process({"dslaunch", " supervise "}), SIGKILL);
  EXPECT_TRUE(home_.is_quiet());
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
}

TEST_F(ServicesTest, LoseNothingWithTheRegistry) {
  ASSERT_EQ(up({"--gateways", "1"}).exit_code, 0);
  const std::string url = home_.run({"url", "demo"}).out;
  const std::vector<pid_t> before = home_.processes();
  std::filesystem::remove_all(home_.path() / ".local/state/dslaunch/registry");
  EXPECT_EQ(home_.run({"status"}).exit_code, 0) << "makes it anew, empty";
  const auto has_both = [&] {
    const json now = status();
    return now.contains("replicas") && now["replicas"].size() == 1U &&
           now["controller"].is_object() && now["controller"]["state"] == "ready";
  };
  EXPECT_TRUE(eventually(seconds(10), has_both)) << status();
  EXPECT_EQ(home_.run({"url", "demo"}).out, url);
  EXPECT_EQ(home_.processes(), before);
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
}

TEST_F(ServicesTest, ReplicasComeAndGoOneByOne) {
  const CliResult started = up({"--replicas", "2", "--gateways", "1", "--json"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_EQ(json::parse(started.out).at("replicas").size(), 2U);
  EXPECT_EQ(num_ready("engine"), 2) << "gateways have seen both";
  EXPECT_THAT(home_.run({"logs", "demo", "--replica", "1"}).out, HasSubstr("replica-1/rank-0"));

  const std::filesystem::path logs = home_.path() / ".local/state/dslaunch/logs/demo/replica-1";
  const std::string rank_log = content_of(logs / "rank-0.log");
  ::kill(home_.wait_for_process({"dslaunch", " supervise ", "--replica=1"}), SIGKILL);
  EXPECT_TRUE(eventually(seconds(5), [&] { return num_ready("engine") == 1; }));
  EXPECT_THAT(home_.run({"status"}).out, ContainsRegex("demo +degraded +local +1/2 "));
  EXPECT_THAT(home_.run({"status", "demo"}).out, HasSubstr("replica 1   lost: its program ended"));
  EXPECT_EQ(status().at("state"), "degraded");
  EXPECT_EQ(status().at("lost_replicas").at(0).at("replica"), 1);
  const CliResult again = up({"--replicas", "2", "--gateways", "1"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(home_.run({"status"}).out, ContainsRegex("demo +ready +local +2/2 "));
  EXPECT_THAT(content_of(logs / "rank-0.log.1"), StartsWith(rank_log))
      << "what it had logged stays";
  EXPECT_NE(content_of(logs / "rank-0.log"), rank_log);
  EXPECT_EQ(num_ready("engine"), 2) << "gateways have seen both";
  EXPECT_EQ(home_.run({"down", "demo", "--replica", "7"}).exit_code, 3);

  // One that was drained gets requests again when it is back.
  ASSERT_EQ(home_.run({"down", "demo", "--replica", "1"}).exit_code, 0);
  EXPECT_THAT(home_.run({"status"}).out, ContainsRegex("demo +ready +local +1/1 "));
  ASSERT_EQ(up({"--replicas", "2", "--gateways", "1"}).exit_code, 0);
  EXPECT_EQ(num_ready("engine"), 2) << "gateways have seen both";
}

}  // namespace
}  // namespace dsl::e2e
