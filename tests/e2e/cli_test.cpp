// dslaunch with the real engine and the demo model: what users do, and what happens to them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/e2e/cli_process.h"

namespace dsl::e2e {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr const char* kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";
constexpr const char* kQuestion = "What is 47 + 85?";

class CliTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(home_.is_quiet()) << "a process is left"; }

  static std::vector<std::string> generate(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"generate", kModel, "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  /// A generation that goes on until something ends it.
  static std::vector<std::string> endless(std::vector<std::string> more) {
    more.insert(more.end(), {"--chat", kQuestion, "--ignore-eos", "--max-tokens", "100000000",
                             "--kv-tokens", "4096"});
    return generate(more);
  }
  CliResult up(const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"up", kModel, "--name", name, "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return home_.run(arguments);
  }
  /// Progress lines may come before it on a slow machine.
  static void expect_one_error_line(const CliResult& result, int exit_code,
                                    const std::string& start) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    std::vector<std::string> errors;
    std::istringstream lines(result.err);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("loading  ", 0) != 0) errors.push_back(line);
    }
    EXPECT_THAT(errors, testing::ElementsAre(testing::StartsWith(start)));
  }

  CliHome home_;
};

TEST_F(CliTest, AnswersOverFourRanksAndTellsTheWorld) {
  const CliResult result =
      home_.run(generate({"--chat", kQuestion, "--tp", "2", "--pp", "2", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json answer = json::parse(result.out);
  EXPECT_THAT(answer.at("text").get<std::string>(), HasSubstr("132"));
  EXPECT_EQ(answer.at("finish_reason"), "stop");
  EXPECT_EQ(answer.at("token_ids").size(),
            answer.at("usage").at("completion_tokens").get<std::size_t>());
  EXPECT_EQ(answer.at("world").at("ranks"), 4);
  EXPECT_EQ(answer.at("world").at("links").size(), 12U);
  EXPECT_GT(answer.at("timings").at("load_s").get<double>(), 0);
  EXPECT_GT(answer.at("timings").at("decode_tokens_per_s").get<double>(), 0);
}

TEST_F(CliTest, PrintsTheSameTextWhateverTheWorld) {
  const CliResult one = home_.run(generate({"--chat", kQuestion}));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.out, HasSubstr("132"));
  const CliResult two = home_.run(generate({"--chat", kQuestion, "--pp", "2"}));
  EXPECT_EQ(two.out, one.out);
}

TEST_F(CliTest, NamesARankThatIsKilledWhileLoading) {
  CliProcess process = home_.start(endless({"--tp", "2", "--pp", "2"}));
  const pid_t rank = home_.wait_for_process({"dsengine", " --rank 2 "});
  ASSERT_NE(rank, 0);
  const auto killed = std::chrono::steady_clock::now();
  ::kill(rank, SIGKILL);
  const CliResult result = process.wait(seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, seconds(5));
  expect_one_error_line(result, 5, "DSL-602 RankFailed: rank 2 (stage 1, shard 0) was killed");
}

TEST_F(CliTest, NamesARankThatIsKilledWhileGenerating) {
  for (const std::string rank : {"0", "3"}) {
    CliProcess process = home_.start(endless({"--tp", "2", "--pp", "2"}));
    ASSERT_TRUE(eventually(seconds(30), [&] { return !process.out().empty(); })) << process.err();
    const pid_t pid = home_.wait_for_process({"dsengine", " --rank " + rank + " "});
    const auto killed = std::chrono::steady_clock::now();
    ::kill(pid, SIGKILL);
    const CliResult result = process.wait(seconds(20));
    EXPECT_LT(std::chrono::steady_clock::now() - killed, seconds(5));
    expect_one_error_line(result, 5, "DSL-602 RankFailed: rank " + rank + " ");
  }
}

TEST_F(CliTest, NamesARankThatHangsWhileGenerating) {
  CliProcess process = home_.start(endless({"--tp", "2"}));
  ASSERT_TRUE(eventually(seconds(30), [&] { return !process.out().empty(); })) << process.err();
  const auto stopped = std::chrono::steady_clock::now();
  ::kill(home_.wait_for_process({"dsengine", " --rank 1 "}), SIGSTOP);
  const CliResult result = process.wait(seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, seconds(7));
  expect_one_error_line(result, 5, "DSL-201 PeerHung: rank 1 (stage 0, shard 1)");
}

TEST_F(CliTest, CtrlCStopsCleanly) {
  CliProcess process = home_.start(endless({"--pp", "2"}));
  ASSERT_TRUE(eventually(seconds(30), [&] { return !process.out().empty(); })) << process.err();
  ::kill(process.pid(), SIGINT);
  const CliResult result = process.wait(seconds(10));
  expect_one_error_line(result, 130, "DSL-105 Cancelled: stopped by SIGINT");
}

TEST_F(CliTest, CtrlCWhileLoadingStopsCleanly) {
  CliProcess process = home_.start(endless({"--pp", "2"}));
  ASSERT_NE(home_.wait_for_process({"dsengine", " --rank 1 "}), 0);
  ::kill(process.pid(), SIGTERM);
  expect_one_error_line(process.wait(seconds(10)), 143, "DSL-105 Cancelled: stopped by SIGTERM");
}

TEST_F(CliTest, RanksDieWithAKilledLauncher) {
  CliProcess process = home_.start(endless({"--pp", "2"}));
  ASSERT_TRUE(eventually(seconds(30), [&] { return !process.out().empty(); })) << process.err();
  ::kill(process.pid(), SIGKILL);
  process.wait(seconds(5));
  EXPECT_TRUE(home_.is_quiet());
}

TEST_F(CliTest, BadInputIsOneLineAndAnExitCode) {
  expect_one_error_line(home_.run({"generate", "/no/such/model", "--prompt", "x"}), 3,
                        "DSL-102 NotFound: there is no model directory /no/such/model");
  expect_one_error_line(home_.run({"generate", "/tmp", "--prompt", "x"}), 3, "DSL-102 NotFound");
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--tp", "3"})), 2,
                        "DSL-101 InvalidArgument: tp is 3");
  expect_one_error_line(home_.run({"render", kModel, "--cluster", "slurm", "-N", "3", "--pp", "2"}),
                        2, "DSL-500 Parallelism: 3 nodes cannot share 2 stages");
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--pp", "1000"})), 2, "DSL-500");
  expect_one_error_line(home_.run(generate({"--prompt", "\xFF"})), 3, "DSL-403 InvalidUtf8");
  expect_one_error_line(home_.run({"generate", kModel}), 2, "DSL-101");
  expect_one_error_line(home_.run({"nonsense"}), 2, "DSL-101");
  expect_one_error_line(home_.run({"bench"}), 2,
                        "DSL-101 InvalidArgument: bench: expected one of engine, serve");
  expect_one_error_line(home_.run({"keys", "a", "list", "b"}), 2,
                        "DSL-101 InvalidArgument: keys list: takes no name of a key");
  EXPECT_TRUE(json::parse(home_.run({"--json", "status"}).out).contains("deployments"));
  expect_one_error_line(home_.run({"down", "nobody"}), 2, "DSL-601 DeploymentNotFound");
  expect_one_error_line(home_.run({"down", "--all", "--replica", "1"}), 2,
                        "DSL-101 InvalidArgument: --replica and --all");
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--tp", "16"})), 2,
                        "DSL-101 InvalidArgument: --tp: expected 1 to 8, found 16");
  expect_one_error_line(home_.run({"up", kModel, "--threads", "1025"}), 2,
                        "DSL-101 InvalidArgument: --threads: expected 0 to 1024, found 1025");
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--max-tokens", "0"})), 2,
                        "DSL-101 InvalidArgument: --max-tokens: expected 1 to 1000000000, found 0");
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--logprobs", "21"})), 2,
                        "DSL-101 InvalidArgument: --logprobs: expected 0 to 20, found 21");
  expect_one_error_line(home_.run({"weights", "plan"}), 2,
                        "DSL-101 InvalidArgument: MODEL is required. Remedy: see dsengine weights");
  const CliResult as_json = home_.run({"generate", "/no/such/model", "--prompt", "x", "--json"});
  EXPECT_EQ(json::parse(as_json.err).at("error").at("code"), "DSL-102");
  for (const char* model : {"/no/such/model", "--nonsense"}) {
    const CliResult weights = home_.run({"weights", "inspect", model, "--json"});
    EXPECT_THAT(json::parse(weights.err).at("error").at("code"),
                testing::AnyOf("DSL-101", "DSL-102"));
    EXPECT_NE(weights.exit_code, 0);
  }
}

TEST_F(CliTest, ATokenOutsideTheVocabularyIsAnError) {
  const CliResult result = home_.run(generate({"--token-ids", "1,99999999"}));
  EXPECT_THAT(result.exit_code, testing::AnyOf(2, 3)) << result.err;
  EXPECT_THAT(result.err, HasSubstr("99999999"));
}

TEST_F(CliTest, ATakenPortIsAnError) {
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(taken, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  ASSERT_EQ(::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string listen = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  expect_one_error_line(home_.run(generate({"--prompt", "x", "--listen", listen})), 7,
                        "DSL-206 AddressInUse: rank 0");
  ::close(taken);
}

TEST_F(CliTest, EvalWritesLogits) {
  std::ofstream(home_.path() / "tokens.txt") << "[1, 5, 6, 7]";
  const std::string npy = (home_.path() / "logits.npy").string();
  const CliResult result =
      home_.run({"eval", kModel, "--threads", "1", "--dtype", "f32", "--token-ids",
                 (home_.path() / "tokens.txt").string(), "--logits", npy, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json scores = json::parse(result.out);
  EXPECT_EQ(scores.at("tokens"), 4);
  EXPECT_GT(scores.at("perplexity").get<double>(), 1);
  const auto vocab_size = scores.at("vocab_size").get<std::uintmax_t>();
  EXPECT_EQ(std::filesystem::file_size(npy), 128 + 4 * vocab_size * sizeof(float));
}

TEST_F(CliTest, BenchReportsTheFractionOfTheLimit) {
  const CliResult result =
      home_.run({"bench", "engine", kModel, "--threads", "1", "--prompt-tokens", "16",
                 "--gen-tokens", "8", "--batch", "2", "--json"},
                seconds(240));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json bench = json::parse(result.out);
  for (const char* key : {"prefill_tokens_per_s", "decode_tokens_per_s", "decode_gb_per_s",
                          "read_bandwidth_gb_per_s", "fraction_of_read_bandwidth"}) {
    EXPECT_GT(bench.at(key).get<double>(), 0) << key;
  }
}

TEST_F(CliTest, ADeploymentLivesFromUpToDown) {
  const CliResult started = up("demo", {"--pp", "2", "--json"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_EQ(json::parse(started.out).at("state"), "ready");

  const json status = json::parse(home_.run({"status", "demo", "--json"}).out);
  EXPECT_EQ(status.at("state"), "ready");
  EXPECT_EQ(status.at("world").at("links").size(), 2U);
  EXPECT_EQ(status.at("world").at("paths"),
            json::parse(R"([{"rank":0,"hops":"host","tensor_sums":"none"},
                            {"rank":1,"hops":"host","tensor_sums":"none"}])"));
  EXPECT_THAT(home_.run({"status", "demo"}).out,
              HasSubstr("ranks 0-1: hops between stages host, tensor sums none"));
  EXPECT_THAT(home_.run({"status"}).out, HasSubstr("demo"));
  EXPECT_EQ(json::parse(home_.run({"status", "--names", "--json"}).out),
            json::parse(R"({"names":["demo"]})"));

  const CliResult answer = home_.run({"generate", "--deployment", "demo", "--chat", kQuestion});
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("132"));
  const CliResult chat = home_.run({"chat", "demo"}, seconds(30), std::string(kQuestion) + "\n");
  EXPECT_EQ(chat.exit_code, 0) << chat.err;
  EXPECT_THAT(chat.out, HasSubstr("132")) << "the OpenAI interface is there without a flag";
  EXPECT_THAT(home_.run({"url", "demo"}).out, testing::MatchesRegex("http://127.0.0.1:.*/v1\n"));
  EXPECT_THAT(home_.run({"env", "demo"}).out, HasSubstr("export OPENAI_API_KEY=sk-"));
  EXPECT_THAT(home_.run({"logs", "demo", "--rank", "1"}).out, HasSubstr("rank-1"));
  EXPECT_THAT(home_.run({"logs", "demo"}).out, HasSubstr("ready at"));

  expect_one_error_line(up("demo"), 2, "DSL-600 DeploymentExists");

  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
  EXPECT_TRUE(home_.is_quiet());
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
  expect_one_error_line(home_.run({"generate", "--deployment", "demo", "--chat", "x"}), 2,
                        "DSL-601");
}

TEST_F(CliTest, WithoutAGatewayOnlyTheEngineAnswersAndUpAddsOne) {
  ASSERT_EQ(up("demo", {"--gateways", "0"}).exit_code, 0);
  EXPECT_TRUE(home_.processes({"dsgateway"}).empty());
  EXPECT_THAT(home_.run({"generate", "--deployment", "demo", "--chat", kQuestion}).out,
              HasSubstr("132"));
  expect_one_error_line(home_.run({"url", "demo"}), 5, "DSL-603 Unreachable");
  const pid_t rank = home_.wait_for_process({"dsengine"});
  const CliResult again = up("demo");
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, testing::StartsWith("demo: its services are up"));
  EXPECT_EQ(home_.wait_for_process({"dsengine"}), rank) << "the replica was left alone";
  EXPECT_EQ(home_.run({"url", "demo"}).exit_code, 0);
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
}

TEST_F(CliTest, AMissingGatewayIsOneErrorBeforeAnythingStarts) {
  home_.set("DSLAUNCH_GATEWAY", "/nonexistent/dsgateway");
  const CliResult refused = up("demo");
  expect_one_error_line(refused, 3, "DSL-102 NotFound: there is no program /nonexistent/dsgateway");
  EXPECT_THAT(refused.err, HasSubstr("--gateways 0"));
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
  EXPECT_EQ(home_.run(generate({"--chat", kQuestion})).exit_code, 0) << "needs no gateway";
  EXPECT_EQ(up("demo", {"--gateways", "0"}).exit_code, 0);
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
}

TEST_F(CliTest, ASpecificationFileBringsUpTheSame) {
  const std::filesystem::path file = home_.path() / "demo.yaml";
  std::ofstream(file) << "model: " << kModel << "\nname: from-file\npp: 2\nthreads: 1\n";
  ASSERT_EQ(home_.run({"up", file.string(), "--pp", "1"}).exit_code, 0);
  const json status = json::parse(home_.run({"status", "from-file", "--json"}).out);
  EXPECT_EQ(status.at("world").at("pp"), 1) << "flags override the file";
  EXPECT_EQ(home_.run({"down", "from-file"}).exit_code, 0);
  std::ofstream(file) << "model: " << kModel << "\nppp: 2\n";
  expect_one_error_line(home_.run({"up", file.string()}), 2,
                        "DSL-107 Config: " + file.string() + ":2:1: unknown key \"ppp\"");
  const std::string model = fmt::format("model: {}\n", kModel);
  for (const auto& [text, place] : std::map<std::string, std::string>{
           {model + "tp: 3\n", ":2:5: tp is 3"},
           {model + "name: A_b\n", ":2:7: the deployment name"},
           {model + "device: gpu\n", ":2:9: the device \"gpu\""},
           {model + "gateway:\n  tls_key: k.pem\n", ":3:12: TLS needs"},
           {model + "slurm: {nodes: 2}\n", ":2:8: Slurm options"},
           {"name: a\n", ":1:1: the model is not given"}}) {
    std::ofstream(file) << text;
    expect_one_error_line(home_.run({"render", file.string()}), 2,
                          "DSL-107 Config: " + file.string() + place);
  }
  std::ofstream(file) << model;
  expect_one_error_line(home_.run({"render", file.string(), "--tp", "3"}), 2,
                        "DSL-107 Config: tp is 3");
}

TEST_F(CliTest, FollowedLogsEndWithTheirDeployment) {
  ASSERT_EQ(up("demo").exit_code, 0);
  CliProcess logs = home_.start({"logs", "demo", "-f"});
  CliProcess left = home_.start({"logs", "demo", "-f"});
  CliProcess ended = home_.start({"logs", "demo", "-f"});
  for (CliProcess* follower : {&logs, &left, &ended}) {
    ASSERT_TRUE(eventually(seconds(10), [&] { return !follower->out().empty(); }));
  }
  ::kill(left.pid(), SIGINT);
  ::kill(ended.pid(), SIGTERM);
  EXPECT_EQ(left.wait(seconds(10)).exit_code, 0) << "Ctrl-C is how one leaves it";
  EXPECT_EQ(ended.wait(seconds(10)).exit_code, 128 + SIGTERM);
  ASSERT_EQ(home_.run({"down", "demo"}).exit_code, 0);
  const CliResult result = logs.wait(seconds(10));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("stopped by SIGTERM"));
}

TEST_F(CliTest, SecretsAreInNoLogAndNoArgumentAndGoWithTheDeployment) {
  ASSERT_EQ(up("demo").exit_code, 0);
  const std::filesystem::path secrets = home_.path() / ".local/state/dslaunch/secrets";
  std::string secret;
  for (const auto& entry : std::filesystem::directory_iterator(secrets)) {
    std::ifstream(entry.path()) >> secret;
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms(0600));
  }
  ASSERT_EQ(secret.size(), 64U);
  EXPECT_TRUE(home_.processes({secret}).empty()) << "in a command line";
  EXPECT_EQ(home_.run({"logs", "demo"}).out.find(secret), std::string::npos);
  ASSERT_EQ(home_.run({"down", "demo"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_empty(secrets));
}

TEST_F(CliTest, TwoDeploymentsLiveSideBySide) {
  ASSERT_EQ(up("one").exit_code, 0);
  ASSERT_EQ(up("two").exit_code, 0);
  for (const char* name : {"one", "two"}) {
    const CliResult answer = home_.run({"generate", "--deployment", name, "--chat", kQuestion});
    EXPECT_THAT(answer.out, HasSubstr("132")) << answer.err;
  }
  ASSERT_EQ(home_.run({"down", "one"}).exit_code, 0);
  EXPECT_EQ(home_.run({"status", "--names"}).out, "two\n");
  ASSERT_EQ(home_.run({"down", "--all"}).exit_code, 0);
}

TEST_F(CliTest, ALostRankEndsTheDeploymentAndTheReasonStays) {
  ASSERT_EQ(up("demo", {"--pp", "2"}).exit_code, 0);
  ::kill(home_.wait_for_process({"dsengine", " --rank 1 "}), SIGKILL);
  EXPECT_TRUE(home_.is_quiet());
  const json status = json::parse(home_.run({"status", "demo", "--json"}).out);
  EXPECT_EQ(status.at("state"), "failed");
  EXPECT_THAT(status.at("error").at("message").get<std::string>(), HasSubstr("rank 1"));
  expect_one_error_line(home_.run({"generate", "--deployment", "demo", "--chat", "x"}), 5,
                        "DSL-602");
  EXPECT_EQ(up("demo").exit_code, 0) << "the name is free";
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
}

TEST_F(CliTest, ANewLaunchForgetsTheFailedPartsThatItLacks) {
  const CliResult two = up("demo", {"--gateways", "0", "--replicas", "2"});
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_THAT(two.out, HasSubstr("2 replicas of tp 1 x pp 1 on 1 node, "));
  for (const pid_t rank : home_.processes({"dsengine"})) ::kill(rank, SIGKILL);
  EXPECT_TRUE(home_.is_quiet());
  const json failed = json::parse(home_.run({"status", "demo", "--json"}).out);
  EXPECT_EQ(failed.at("replicas").size(), 2U);
  ASSERT_EQ(up("demo", {"--gateways", "0"}).exit_code, 0);
  const json status = json::parse(home_.run({"status", "demo", "--json"}).out);
  EXPECT_EQ(status.at("replicas").size(), 1U) << status;
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
}

TEST_F(CliTest, AKilledSupervisorLeavesNothing) {
  const std::filesystem::path state = home_.path() / ".local/state/dslaunch";
  for (const char* gateways : {"1", "0"}) {
    ASSERT_EQ(up("demo", {"--pp", "2", "--gateways", gateways}).exit_code, 0);
    EXPECT_THAT(home_.run({"status"}).out, HasSubstr("demo"));
    EXPECT_FALSE(std::filesystem::is_empty(state / "secrets")) << "it lives";
    ::kill(home_.wait_for_process({"dslaunch", " supervise "}), SIGKILL);
    EXPECT_TRUE(home_.is_quiet());
    EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
    EXPECT_TRUE(std::filesystem::is_empty(state / "secrets")) << gateways << " gateways";
    EXPECT_TRUE(std::filesystem::is_empty(state / "deployments")) << gateways << " gateways";
  }
}

TEST_F(CliTest, AFailedUpCleansUp) {
  CliProcess process = home_.start({"up", kModel, "--name", "demo", "--pp", "2", "--threads", "1"});
  const pid_t rank = home_.wait_for_process({"dsengine", " --rank 1 "});
  ASSERT_NE(rank, 0);
  ::kill(rank, SIGKILL);
  expect_one_error_line(process.wait(seconds(20)), 5, "DSL-602 RankFailed: rank 1");
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
}

TEST_F(CliTest, AnInterruptedUpCleansUp) {
  CliProcess process = home_.start({"up", kModel, "--name", "demo", "--pp", "2", "--threads", "1"});
  ASSERT_NE(home_.wait_for_process({"dsengine", " --rank 1 "}), 0);
  ::kill(process.pid(), SIGINT);
  expect_one_error_line(process.wait(seconds(20)), 130, "DSL-105");
  EXPECT_EQ(home_.run({"status"}).out, "no deployments\n");
}

TEST_F(CliTest, PlansOfMemoryAddUpAndSayWhatDoesNotFit) {
  const auto plan = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"weights", "plan", kModel, "--pp", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return home_.run(arguments);
  };
  const CliResult pinned = plan({"--json"});
  const CliResult device = plan({"--json", "--hops", "device", "--max-batch-tokens", "64"});
  ASSERT_EQ(pinned.exit_code, 0) << pinned.err;
  ASSERT_EQ(device.exit_code, 0) << device.err;
  const json hidden = json::parse(std::ifstream(std::string(kModel) + "/config.json"));
  // Two buffers of 64 rows in BF16 for the one neighbour that either stage has.
  const std::int64_t hops = 2 * 64 * hidden.at("hidden_size").get<std::int64_t>() * 2;
  const std::pair<const CliResult*, std::int64_t> expected[] = {{&pinned, 0}, {&device, hops}};
  for (const auto& [result, hop_bytes] : expected) {
    const json ranks = json::parse(result->out).at("ranks");
    ASSERT_EQ(ranks.size(), 2U);
    for (const json& rank : ranks) {
      EXPECT_EQ(rank.at("hops"), hop_bytes);
      std::int64_t sum = 0;
      for (const char* part :
           {"weights", "cache", "activations", "rope_tables", "logits", "hops", "kernels"}) {
        sum += rank.at(part).get<std::int64_t>();
      }
      EXPECT_EQ(rank.at("total"), sum);
    }
  }
  const CliResult small = plan({"--device-memory", "512MiB"});
  expect_one_error_line(small, 7, "DSL-502 OutOfMemory: the plan of rank 0's memory");
}

TEST_F(CliTest, EveryHelpHasExamples) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{},
                                             {"generate"},
                                             {"eval"},
                                             {"bench"},
                                             {"bench", "engine"},
                                             {"up"},
                                             {"status"},
                                             {"logs"},
                                             {"down"},
                                             {"bench", "serve"},
                                             {"render"},
                                             {"scale"},
                                             {"url"},
                                             {"env"},
                                             {"keys"},
                                             {"top"},
                                             {"chat"},
                                             {"complete"},
                                             {"version"},
                                             {"completion"},
                                             {"control"},
                                             {"agent"},
                                             {"supervise"},
                                             {"weights"},
                                             {"weights", "inspect"},
                                             {"weights", "plan"},
                                             {"weights", "synth"}}) {
    std::vector<std::string> arguments = command;
    arguments.push_back("--help");
    const CliResult help = home_.run(arguments);
    EXPECT_EQ(help.exit_code, 0) << help.err;
    EXPECT_THAT(help.out, HasSubstr("Examples:\n  ")) << testing::PrintToString(command);
  }
  EXPECT_THAT(home_.run({"up", "--help"}).out, HasSubstr("--deadline-ms N=5000"));
}

TEST_F(CliTest, RenderPrintsWhatUpWouldStart) {
  const CliResult local = home_.run({"render", kModel, "--name", "demo", "--tp", "2"});
  EXPECT_EQ(local.exit_code, 0) << local.err;
  EXPECT_THAT(local.out, HasSubstr(" supervise "));
  EXPECT_THAT(local.out, HasSubstr(" control ")) << "the gateways' controller";
  const CliResult slurm = home_.run({"render", kModel, "--name", "demo", "--cluster", "slurm", "-N",
                                     "2", "--pp", "2", "-p", "gpu", "-t", "30"});
  EXPECT_EQ(slurm.exit_code, 0) << slurm.err;
  EXPECT_THAT(slurm.out, HasSubstr("#SBATCH"));
}

TEST_F(CliTest, VersionAndCompletionWorkEverywhere) {
  const CliResult version = home_.run({"version", "--verbose", "--json"});
  ASSERT_EQ(version.exit_code, 0) << version.err;
  const json found = json::parse(version.out);
  for (const char* name : {"engine", "ucx", "rdma", "gpudirect", "cuda", "nccl", "slurm"}) {
    EXPECT_TRUE(found.contains(name)) << name;
  }
  EXPECT_TRUE(found.at("engine").at("found").get<bool>()) << version.out;
  EXPECT_THAT(home_.run({"--version"}).out, testing::StartsWith("dslaunch "));
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(home_.run({"completion", shell}).out, HasSubstr("generate"));
  }
  const std::string fish = home_.run({"completion", "fish"}).out;
  EXPECT_THAT(fish, HasSubstr("-l tp -r\n"));
  EXPECT_THAT(fish, HasSubstr("-l json\n")) << "a switch takes no value";
  EXPECT_THAT(fish, HasSubstr("-l dtype -r -f -a 'bf16 f32'\n"));
  EXPECT_THAT(fish, HasSubstr("-f -a 'inspect synth plan'\n"));
}

/// What bash offers where the cursor stands behind `words`, in a folder with "folder" and "file".
class CompletionTest : public CliTest {
 protected:
  void SetUp() override {
    script_ = home_.path() / "completion.bash";
    std::ofstream(script_) << home_.run({"completion", "bash"}).out;
    std::filesystem::create_directories(here_ / "folder");
    std::ofstream(here_ / "file.txt") << "1";
  }
  std::set<std::string> offered(std::vector<std::string> words) {
    // No deployment is up, so one is made up.
    std::vector<std::string> argv = {
        "/bin/bash",
        "-c",
        "source \"$0\"; cd \"$1\"; shift; dslaunch() { echo demo-1; }; COMP_WORDS=(\"$@\"); "
        "COMP_CWORD=$(($# - 1)); _dslaunch; printf '%s\\n' \"${COMPREPLY[@]}\"",
        script_,
        here_,
        "dslaunch"};
    argv.insert(argv.end(), words.begin(), words.end());
    CliProcess bash(argv, home_.environment(), home_.path());
    const CliResult result = bash.wait(seconds(20));
    EXPECT_EQ(result.err, "");
    std::set<std::string> candidates;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty()) candidates.insert(line);
    }
    return candidates;
  }

 private:
  std::filesystem::path script_;
  const std::filesystem::path here_ = home_.path() / "here";
};

TEST_F(CompletionTest, OffersWhatBelongsThere) {
  using testing::Contains;
  using testing::ElementsAre;
  EXPECT_THAT(offered({"gen"}), ElementsAre("generate"));
  EXPECT_THAT(offered({"bench", ""}), testing::IsSupersetOf({"engine", "serve"}));
  EXPECT_THAT(offered({"weights", ""}), testing::IsSupersetOf({"inspect", "plan", "synth"}));
  EXPECT_THAT(offered({"weights", "plan", "--device-m"}), ElementsAre("--device-memory"));
  EXPECT_THAT(offered({"weights", "synth", "--dtype", "f"}), ElementsAre("f16", "f32", "fp8"));
  EXPECT_THAT(offered({"up", "--dtype", ""}), ElementsAre("bf16", "f32"));
  EXPECT_THAT(offered({"up", "--dtype", "=", "b"}), ElementsAre("bf16"));
  EXPECT_THAT(offered({"up", "--dtype", "="}), ElementsAre("bf16", "f32"));
  EXPECT_THAT(offered({"up", "--cluster", ""}), ElementsAre("local", "slurm"));
  EXPECT_THAT(offered({"completion", ""}), ElementsAre("bash", "fish", "zsh"));
  EXPECT_THAT(offered({"keys", ""}), ElementsAre("demo-1"));
  EXPECT_THAT(offered({"keys", "demo-1", ""}), ElementsAre("add", "list", "revoke"));
  EXPECT_THAT(offered({"keys", "--priority", "1", "demo-1", "r"}), ElementsAre("revoke"));
  EXPECT_THAT(offered({"generate", "--deployment", ""}), ElementsAre("demo-1"));
  EXPECT_THAT(offered({"bench", "serve", ""}), ElementsAre("demo-1"));
  for (const char* command : {"up", "generate", "eval", "render"})
    EXPECT_THAT(offered({command, "f"}), ElementsAre("file.txt", "folder")) << command;
  EXPECT_THAT(offered({"up", ""}), Contains("folder"));
  EXPECT_THAT(offered({"complete", "demo-1", "--prompt-file", "fi"}), ElementsAre("file.txt"));
  EXPECT_THAT(offered({"up", "folder", "--serv"}), ElementsAre("--served-model-name"));
}

TEST_F(CompletionTest, KnowsTheFlagsThatDsengineHas) {
  const std::string all = home_.run({"weights", "--help"}).out;
  for (const char* command : {"inspect", "synth", "plan"}) {
    EXPECT_THAT(all, HasSubstr(fmt::format("\n  {} ", command)));
    std::set<std::string> flags;
    std::istringstream lines(home_.run({"weights", command, "--help"}).out);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t start = line.find("--");
      if (line.starts_with("  -")) flags.insert(line.substr(start, line.find(' ', start) - start));
    }
    EXPECT_EQ(offered({"weights", command, "--"}), flags);
  }
}

}  // namespace
}  // namespace dsl::e2e
