// The program dsengine from outside: arguments, reports, engine port, exit codes, signals, failures
// of the world.
#include <gmock/gmock.h>

#include <condition_variable>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <thread>

#include "../checkpoint/checkpoint_files.h"
#include "child.h"
#include "engine/checkpoint/synth.h"
#include "raw_client.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using namespace std::chrono_literals;
using checkpoint::TemporaryDirectory;

constexpr char kSecret[] = "0123456789abcdef";
/// A failure must end every rank within this time; detection (1 s here) included.
constexpr auto kGoneWithin = 6s;

/// A tiny checkpoint without tokenizer, made once.
const std::filesystem::path& model() {
  static const TemporaryDirectory directory;
  static const std::filesystem::path path = [] {
    checkpoint::SynthOptions options;
    options.config_path = std::filesystem::path(DSL_TEST_DATA_DIR) / "reference" / "fixtures" /
                          "v3_grouped_bf16" / "config.json";
    options.out_dir = directory.path() / "model";
    const auto written = checkpoint::synthesize(options, {});
    EXPECT_TRUE(written.has_value()) << written.error().message;
    return options.out_dir;
  }();
  return path;
}

std::vector<std::string> rank_argv(std::vector<std::string> further,
                                   const std::filesystem::path& model_dir = model(),
                                   std::chrono::milliseconds deadline = 1000ms) {
  std::vector<std::string> argv = {DSL_ENGINE_BINARY,
                                   "--model",
                                   model_dir.string(),
                                   "--threads",
                                   "1",
                                   "--deadline-ms",
                                   std::to_string(deadline.count())};
  argv.insert(argv.end(), further.begin(), further.end());
  return argv;
}

/// The endpoint in the line that says ready.
std::string endpoint_in(const std::string& output) {
  const std::size_t at = output.find("ready at ") + 9;
  return output.substr(at, output.find('\n', at) - at);
}

constexpr char kGreedy[] =
    R"({"token_ids":[3,1,4],"max_tokens":12,"sampling":{"ignore_eos":true}})";
constexpr std::size_t kLongTokens = 300;
constexpr char kLong[] = R"({"token_ids":[3,1,4],"max_tokens":300,"sampling":{"ignore_eos":true}})";
constexpr char kEndless[] =
    R"({"token_ids":[3,1,4],"max_tokens":2000,"sampling":{"ignore_eos":true}})";

std::vector<std::int32_t> token_ids_in(const std::string& answer) {
  std::vector<std::int32_t> ids;
  std::size_t at = 0;
  while ((at = answer.find("{\"token_ids\":", at)) != std::string::npos) {
    const std::size_t end = answer.find('\n', at);
    const json line = json::parse(answer.substr(at, end - at));
    for (const auto& id : line["token_ids"]) ids.push_back(id);
    at = end;
  }
  return ids;
}

TEST(Dsengine, AWorldOfOneServesWithoutSupervisor) {
  Child child(rank_argv({}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  EXPECT_THAT(child.text(), HasSubstr(R"({"event":"load","bytes":)"));
  EXPECT_THAT(child.text(), HasSubstr(R"({"event":"ready","endpoint":"127.0.0.1:)"));
  RawClient client(endpoint_in(child.text()));
  client.send(http_post("/v1/generate", kSecret, kGreedy));
  ASSERT_TRUE(client.read_until("0\r\n\r\n")) << client.received();
  EXPECT_EQ(token_ids_in(client.received()).size(), 12u) << client.received();
  EXPECT_THAT(client.received(), HasSubstr("\"finish_reason\":\"length\""));
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(Deadline::after(kGoneWithin)), 0) << child.text();
  EXPECT_THAT(child.text(), testing::Not(HasSubstr(kSecret)));
}

TEST(Dsengine, RequestsBeyondModelAndContextAreRefusedAndHarmNobody) {
  Child child(rank_argv({"--kv-tokens", "512"}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  const std::string endpoint = endpoint_in(child.text());
  RawClient other(endpoint);
  other.send(http_post("/v1/generate", kSecret, kGreedy));
  const std::pair<json, const char*> cases[] = {
      {{{"token_ids", std::vector<int>(5000, 1)}}, "DSL-501"},
      {{{"token_ids", {1, 1 << 20}}}, "DSL-503"},
      {{{"token_ids", json::array()}}, "DSL-503"},
      {{{"token_ids", {1}}, {"sampling", {{"top_p", 2}}}}, "DSL-503"},
      {{{"prompt", "text without a tokenizer"}}, "DSL-102"},
  };
  for (const auto& [body, code] : cases) {
    RawClient client(endpoint);
    client.send(http_post("/v1/generate", kSecret, body.dump()));
    ASSERT_TRUE(client.read_until("\"remedy\"")) << client.received();
    EXPECT_THAT(client.received(), HasSubstr(code));
  }
  RawClient score(endpoint);
  score.send(
      http_post("/v1/score", kSecret, json{{"token_ids", std::vector<int>(5000, 1)}}.dump()));
  ASSERT_TRUE(score.read_until("DSL-501")) << score.received();
  ASSERT_TRUE(other.read_until("0\r\n\r\n"));
  EXPECT_EQ(token_ids_in(other.received()).size(), 12u);
}

TEST(Dsengine, SigtermLetsAnswersEnd) {
  Child child(rank_argv({}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  RawClient client(endpoint_in(child.text()));
  client.send(http_post("/v1/generate", kSecret, kLong));
  ASSERT_TRUE(client.read_until("token_ids"));
  child.signal(SIGTERM);
  ASSERT_TRUE(client.read_until("0\r\n\r\n")) << client.received();
  EXPECT_EQ(token_ids_in(client.received()).size(), kLongTokens) << client.received();
  EXPECT_THAT(client.received(), HasSubstr("\"finish_reason\":\"length\""));
  EXPECT_EQ(child.wait(Deadline::after(kGoneWithin)), 0) << child.text();
}

TEST(Dsengine, SigtermEndsAnIdleEngineAtOnce) {
  Child child(rank_argv({}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  RawClient idle(endpoint_in(child.text()));
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(Deadline::after(1s)), 0) << child.text();
}

/// Asks again until the process ends: signals that come close together are one.
std::optional<int> insist(Child& child) {
  const Deadline deadline = Deadline::after(kGoneWithin);
  std::optional<int> code;
  while (!code && !deadline.expired()) {
    child.signal(SIGTERM);
    code = child.wait(Deadline::after(100ms));
  }
  return code;
}

/// So many answers that a rank with the slowest kernels has work for much longer than the test.
class EndlessAnswers {
 public:
  explicit EndlessAnswers(const std::string& endpoint) {
    for (int i = 0; i < 64; ++i) clients_.emplace_back(endpoint).send(request_);
    EXPECT_TRUE(clients_.front().read_until("token_ids"));
  }
  /// All end with an error that says why.
  void expect_cut() {
    for (RawClient& client : clients_) {
      EXPECT_TRUE(client.read_to_end());
      EXPECT_THAT(client.received(), HasSubstr("\"code\":\"DSL-105\""));
    }
  }

 private:
  const std::string request_ = http_post("/v1/generate", kSecret, kEndless);
  std::list<RawClient> clients_;
};

TEST(Dsengine, ADrainRefusesRequestsAndASecondSigtermCutsIt) {
  Child child(rank_argv({"--kernels", "scalar"}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  const std::string endpoint = endpoint_in(child.text());
  EndlessAnswers answers(endpoint);
  RawClient late(endpoint);
  child.signal(SIGTERM);
  ASSERT_TRUE(child.read_until("draining")) << child.text();
  late.send(http_post("/v1/generate", kSecret, kGreedy));
  ASSERT_TRUE(late.read_until("\"remedy\"")) << late.received();
  EXPECT_TRUE(late.received().starts_with("HTTP/1.1 503")) << late.received();
  EXPECT_THAT(late.received(), HasSubstr("Retry-After: "));
  EXPECT_EQ(insist(child), 0) << child.text();
  answers.expect_cut();
}

TEST(Dsengine, ADrainEndsAfterItsTime) {
  Child child(rank_argv({"--kernels", "scalar", "--drain-timeout-s", "1"}), kSecret);
  ASSERT_TRUE(child.read_until("ready at ")) << child.text();
  EndlessAnswers answers(endpoint_in(child.text()));
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(Deadline::after(kGoneWithin)), 0) << child.text();
  answers.expect_cut();
}

struct BadStart {
  const char* name;
  std::function<std::vector<std::string>(const TemporaryDirectory&)> argv;
  int exit_code;
  const char* message;
};

std::vector<std::string> with_model(const TemporaryDirectory& directory) {
  return {DSL_ENGINE_BINARY, "--model", directory.path().string(), "--threads", "1"};
}

void copy_model(const TemporaryDirectory& directory) {
  std::filesystem::copy(model(), directory.path(), std::filesystem::copy_options::recursive);
}

class BadStarts : public testing::TestWithParam<BadStart> {};

TEST_P(BadStarts, GiveOneLineAndTheDocumentedCode) {
  const TemporaryDirectory directory;
  Child child(GetParam().argv(directory), kSecret);
  EXPECT_EQ(child.wait(Deadline::after(60s)), GetParam().exit_code) << child.text();
  EXPECT_THAT(child.text(), HasSubstr(GetParam().message));
}

const BadStart kBadStarts[] = {
    {"UnknownFlag", [](const auto&) { return rank_argv({"--nonsense"}); }, 2, "--nonsense"},
    {"NoModel", [](const auto&) { return std::vector<std::string>{DSL_ENGINE_BINARY}; }, 2,
     "--model"},
    {"RankOutsideTheWorld",
     [](const auto&) {
       return rank_argv({"--rank", "1"});
     },
     2, "the world has 1 ranks"},
    {"NoRendezvous",
     [](const auto&) {
       return rank_argv({"--tp", "2"});
     },
     2, "--rendezvous"},
    {"InprocAcrossProcesses",
     [](const auto&) {
       return rank_argv({"--tp", "2", "--transport", "inproc", "--rendezvous", "127.0.0.1:1"});
     },
     5, "--transport inproc"},
    {"EmptyDirectory", [](const TemporaryDirectory& directory) { return with_model(directory); }, 3,
     "config.json"},
    {"BrokenConfig",
     [](const TemporaryDirectory& directory) {
       directory.write("config.json", "{");
       return with_model(directory);
     },
     3, "DSL-304"},
    {"UnsupportedModel",
     [](const TemporaryDirectory& directory) {
       directory.write("config.json", R"({"model_type":"deepseek_v4"})");
       return with_model(directory);
     },
     3, "DSL-303"},
    {"NoWeights",
     [](const TemporaryDirectory& directory) {
       std::filesystem::copy(model() / "config.json", directory.path());
       return with_model(directory);
     },
     3, "no weights in"},
    {"TruncatedWeights",
     [](const TemporaryDirectory& directory) {
       copy_model(directory);
       const auto file = directory.path() / "model.safetensors";
       std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
       return with_model(directory);
     },
     3, "DSL-300"},
    {"BrokenTokenizer",
     [](const TemporaryDirectory& directory) {
       copy_model(directory);
       directory.write("tokenizer.json", "{\"model\":");
       return with_model(directory);
     },
     3, "tokenizer.json"},
    {"BadListenAddress",
     [](const auto&) {
       return rank_argv({"--listen", "nowhere"});
     },
     2, "nowhere"},
};

INSTANTIATE_TEST_SUITE_P(All, BadStarts, testing::ValuesIn(kBadStarts),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Dsengine, NoSecretIsAUsageError) {
  Child child(rank_argv({}), std::nullopt);
  EXPECT_EQ(child.wait(Deadline::after(60s)), 2);
  EXPECT_THAT(child.text(), HasSubstr("DSLAUNCH_SECRET"));
}

TEST(Dsengine, ATakenPortIsAResourceError) {
  Child first(rank_argv({}), kSecret);
  ASSERT_TRUE(first.read_until("ready at ")) << first.text();
  Child second(rank_argv({"--listen", endpoint_in(first.text())}), kSecret);
  EXPECT_EQ(second.wait(Deadline::after(60s)), 7) << second.text();
  EXPECT_THAT(second.text(), HasSubstr("DSL-206"));
}

/// The supervisor's side of a world, and its rank processes.
class World {
 public:
  World(int tp, int pp, std::chrono::milliseconds deadline = 1000ms)
      : tp_(tp), pp_(pp), deadline_(deadline) {
    bootstrap::RendezvousServerOptions options;
    options.world_size = tp * pp;
    options.secret = kSecret;
    options.failure_deadline = deadline;
    options.heartbeat_interval = 100ms;
    bootstrap::RendezvousEvents events;
    events.joined = [this](int rank) {
      const std::scoped_lock lock(mutex_);
      joined_.insert(rank);
      changed_.notify_all();
    };
    events.reported = [this](int rank, const std::string& report) {
      const json object = json::parse(report);
      const std::scoped_lock lock(mutex_);
      reports_[rank].push_back(object);
      changed_.notify_all();
    };
    events.failed = [](int, const Error&) {};
    auto started = bootstrap::RendezvousServer::start(options, events);
    EXPECT_TRUE(started.has_value());
    server_ = *std::move(started);
  }

  void start_rank(int rank, const std::filesystem::path& model_dir = model()) {
    ranks_.push_back(std::make_unique<Child>(
        rank_argv({"--rank", std::to_string(rank), "--tp", std::to_string(tp_), "--pp",
                   std::to_string(pp_), "--rendezvous", server_->address()},
                  model_dir, deadline_),
        kSecret));
  }
  void start_all() {
    for (int rank = 0; rank < tp_ * pp_; ++rank) start_rank(rank);
  }

  bool wait_joined(int rank) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 60s, [&] { return joined_.contains(rank); });
  }
  /// The report of this kind of a rank; null when none comes within a minute.
  json wait_for_report(int rank, const std::string& event) {
    std::unique_lock lock(mutex_);
    json found;
    changed_.wait_for(lock, 60s, [&] {
      for (const json& report : reports_[rank]) {
        if (report["event"] == event) found = report;
      }
      return !found.is_null();
    });
    return found;
  }
  /// The engine port, when every rank is ready.
  std::string wait_ready() {
    std::string endpoint;
    for (int rank = 0; rank < tp_ * pp_; ++rank) {
      const json ready = wait_for_report(rank, "ready");
      EXPECT_FALSE(ready.is_null())
          << "rank " << rank << ": " << ranks_[static_cast<std::size_t>(rank)]->text();
      if (rank == 0 && !ready.is_null()) endpoint = ready["endpoint"];
    }
    return endpoint;
  }

  void expect_good_ends() {
    for (const auto& rank : ranks_) {
      EXPECT_EQ(rank->wait(Deadline::after(kGoneWithin)), 0) << rank->text();
    }
  }

  Child& rank(int rank) { return *ranks_[static_cast<std::size_t>(rank)]; }
  std::unique_ptr<bootstrap::RendezvousServer>& server() { return server_; }

 private:
  const int tp_;
  const int pp_;
  const std::chrono::milliseconds deadline_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> joined_;
  std::map<int, std::vector<json>> reports_;
  std::unique_ptr<bootstrap::RendezvousServer> server_;
  std::vector<std::unique_ptr<Child>> ranks_;
};

bool eventually(const std::function<bool()>& holds) {
  const Deadline deadline = Deadline::after(20s);
  while (!holds()) {
    if (deadline.expired()) return false;
    std::this_thread::sleep_for(50ms);  // as a scraper does
  }
  return true;
}

/// The body of an answer; empty when there is none.
std::string body_of(const std::string& endpoint, std::string_view target) {
  RawClient client(endpoint);
  client.send(fmt::format(
      "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n", target,
      kSecret));
  if (!client.read_to_end()) return "";
  const std::size_t head_end = client.received().find("\r\n\r\n");
  return head_end == std::string::npos ? "" : client.received().substr(head_end + 4);
}

bool is_healthy(int rank, const std::string& metrics) {
  const std::regex sample(
      fmt::format("dslaunch_rank_healthy\\{{host=\"[^\"]+\",.*rank=\"{}\"\\}} 1\n", rank));
  return std::regex_search(metrics, sample);
}

TEST(DsengineWorld, AnswersAsOneProcessDoesAndEndsInGoodOrder) {
  Child single(rank_argv({}), kSecret);
  ASSERT_TRUE(single.read_until("ready at ")) << single.text();
  RawClient reference(endpoint_in(single.text()));
  reference.send(http_post("/v1/generate", kSecret, kGreedy));
  ASSERT_TRUE(reference.read_until("0\r\n\r\n"));

  World world(2, 2);
  world.start_all();
  const std::string endpoint = world.wait_ready();
  const json ready = world.wait_for_report(0, "ready");
  EXPECT_EQ(ready["links"].size(), 3u);
  EXPECT_EQ(ready["tensor_parallel_path"], "host");
  EXPECT_EQ(ready["pipeline_parallel_path"], "host");
  EXPECT_GT(ready["resident_bytes"], 0);
  RawClient client(endpoint);
  client.send(http_post("/v1/generate", kSecret, kGreedy));
  ASSERT_TRUE(client.read_until("0\r\n\r\n")) << client.received();
  EXPECT_EQ(token_ids_in(client.received()).size(), 12u);
  EXPECT_EQ(token_ids_in(client.received()), token_ids_in(reference.received()));

  // What a rank sends, its peer gets: told by the one and by the other.
  const char* const hops[] = {
      "peer=\"1\",purpose=\"tensor\",rank=\"0\"",   "peer=\"0\",purpose=\"tensor\",rank=\"1\"",
      "peer=\"2\",purpose=\"pipeline\",rank=\"0\"", "peer=\"0\",purpose=\"pipeline\",rank=\"2\"",
      "peer=\"3\",purpose=\"plan\",rank=\"0\"",     "peer=\"0\",purpose=\"tokens\",rank=\"2\"",
      "peer=\"2\",purpose=\"tensor\",rank=\"3\""};
  std::string metrics;
  EXPECT_TRUE(eventually([&] {
    metrics = body_of(endpoint, "/metrics");
    return std::all_of(std::begin(hops), std::end(hops), [&](const char* hop) {
      return metrics.find("dslaunch_hop_sent_bytes_total{model_name=\"" + model().string() + "\"," +
                          hop) != std::string::npos;
    });
  })) << metrics;
  for (int rank = 0; rank < 4; ++rank) EXPECT_TRUE(is_healthy(rank, metrics)) << rank;
  world.server()->request_shutdown();
  world.expect_good_ends();
}

/// As at the end of a Slurm job, which signals every process.
TEST(DsengineWorld, FollowersWaitForTheAnswersOfRankZero) {
  World world(2, 2);
  world.start_all();
  RawClient client(world.wait_ready());
  client.send(http_post("/v1/generate", kSecret, kLong));
  ASSERT_TRUE(client.read_until("token_ids"));
  for (const int rank : {3, 2, 1, 0}) world.rank(rank).signal(SIGTERM);
  ASSERT_TRUE(client.read_until("0\r\n\r\n")) << client.received();
  EXPECT_EQ(token_ids_in(client.received()).size(), kLongTokens);
  EXPECT_THAT(client.received(), HasSubstr("\"finish_reason\":\"length\""));
  world.expect_good_ends();
}

TEST(DsengineWorld, TheSupervisorsWishDrainsToo) {
  World world(2, 1);
  world.start_all();
  RawClient client(world.wait_ready());
  client.send(http_post("/v1/generate", kSecret, kLong));
  ASSERT_TRUE(client.read_until("token_ids"));
  world.server()->request_shutdown();
  ASSERT_TRUE(client.read_until("0\r\n\r\n")) << client.received();
  EXPECT_EQ(token_ids_in(client.received()).size(), kLongTokens);
  world.expect_good_ends();
}

class RankFailures : public testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(RankFailures, ReachOpenStreamsAndEndEveryRankInTime) {
  World world(2, 2);
  world.start_all();
  RawClient client(world.wait_ready());
  client.send(http_post("/v1/generate", kSecret, kEndless));
  ASSERT_TRUE(client.read_until("token_ids"));
  world.rank(3).signal(GetParam().second);
  EXPECT_TRUE(client.read_until("\"error\"")) << client.received();
  EXPECT_THAT(client.received(), HasSubstr("DSL-20"));
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(world.rank(rank).wait(Deadline::after(kGoneWithin)), 5) << world.rank(rank).text();
    EXPECT_THAT(world.rank(rank).text(), HasSubstr("rank 3")) << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RankFailures,
                         testing::Values(std::pair{"Killed", SIGKILL}, std::pair{"Hung", SIGSTOP}),
                         [](const auto& test) { return std::string(test.param.first); });

/// Before the failure detector ends the world, and while all others stand still because of it.
TEST(DsengineWorld, AStoppedRankIsNamedInHealthAndNoOther) {
  World world(2, 2, 5s);
  world.start_all();
  const std::string endpoint = world.wait_ready();
  const auto ranks = [&] {
    const json health = json::parse(body_of(endpoint, "/health"), nullptr, false);
    return health.is_discarded() ? json() : health["ranks"];
  };
  const json healthy = json::parse(R"([{"rank":0,"state":"healthy"},{"rank":1,"state":"healthy"},
                                       {"rank":2,"state":"healthy"},{"rank":3,"state":"healthy"}])");
  EXPECT_EQ(ranks(), healthy);
  world.rank(2).signal(SIGSTOP);
  const auto stopped = std::chrono::steady_clock::now();
  json seen = healthy;
  EXPECT_TRUE(eventually([&] {
    seen = ranks();
    return seen != healthy && seen.is_array();
  }));
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, 5s);
  ASSERT_EQ(seen.size(), 4u) << seen;
  for (const std::size_t rank : {0, 1, 3}) EXPECT_EQ(seen[rank], healthy[rank]);
  EXPECT_EQ(seen[2]["state"], "unhealthy");
  EXPECT_GE(seen[2]["for_s"], 2);
  EXPECT_THAT(seen[2]["reason"].get<std::string>(), HasSubstr("told nothing of itself"));
  EXPECT_EQ(world.rank(0).wait(Deadline::after(20s)), 5) << world.rank(0).text();
  EXPECT_THAT(world.rank(0).text(), HasSubstr("rank 2"));
}

/// With a failure deadline far away, only the heartbeat tells of a rank that stands still. Nobody
/// asks for health before.
TEST(DsengineWorld, AWedgedEngineIsUnhealthyInTimeWhileItsPortAnswers) {
  World world(2, 1, 60s);
  world.start_all();
  const std::string endpoint = world.wait_ready();
  RawClient scraper(endpoint);
  const auto reads_healthy = [&] {
    scraper.take_received();
    scraper.send(http_get("/metrics", kSecret));
    EXPECT_TRUE(scraper.read_until("\ndslaunch_engine_healthy{")) << scraper.received();
    EXPECT_TRUE(scraper.read_until("\nvllm:num_requests_waiting{")) << scraper.received();
    return scraper.received().find("dslaunch_engine_healthy{model_name=\"" + model().string() +
                                   "\"} 1") != std::string::npos;
  };
  EXPECT_TRUE(reads_healthy()) << scraper.received();
  world.rank(1).signal(SIGSTOP);
  const auto stopped = std::chrono::steady_clock::now();
  while (reads_healthy() && std::chrono::steady_clock::now() - stopped < 10s) {
    std::this_thread::sleep_for(200ms);  // as a scraper does
  }
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, 5s);
  RawClient probe(endpoint);
  probe.send("GET /health HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(probe.read_until("DSL-104")) << probe.received();
  EXPECT_TRUE(probe.received().starts_with("HTTP/1.1 503")) << probe.received();
}

TEST(DsengineWorld, ARankThatFailsToLoadEndsTheOthers) {
  World world(2, 1);
  const TemporaryDirectory empty;
  world.start_rank(0);
  world.start_rank(1, empty.path());
  const json report = world.wait_for_report(1, "error");
  ASSERT_FALSE(report.is_null()) << world.rank(1).text();
  EXPECT_EQ(report["code"], "DSL-102");
  EXPECT_EQ(world.rank(1).wait(Deadline::after(kGoneWithin)), 3) << world.rank(1).text();
  EXPECT_EQ(world.rank(0).wait(Deadline::after(kGoneWithin)), 5) << world.rank(0).text();
}

TEST(DsengineWorld, ARankKilledBeforeItIsReadyEndsTheOthers) {
  World world(2, 1);
  world.start_all();
  ASSERT_TRUE(world.wait_joined(1));
  world.rank(1).signal(SIGKILL);
  EXPECT_EQ(world.rank(0).wait(Deadline::after(kGoneWithin)), 5) << world.rank(0).text();
  EXPECT_THAT(world.rank(0).text(), HasSubstr("rank 1"));
}

TEST(DsengineWorld, RanksDoNotOutliveTheirSupervisor) {
  World world(2, 1);
  world.start_all();
  world.wait_ready();
  world.server().reset();
  for (int rank = 0; rank < 2; ++rank) {
    const auto code = world.rank(rank).wait(Deadline::after(kGoneWithin));
    ASSERT_TRUE(code.has_value()) << world.rank(rank).text();
    EXPECT_EQ(*code, 5) << world.rank(rank).text();
  }
}

}  // namespace
}  // namespace dsl::serving
