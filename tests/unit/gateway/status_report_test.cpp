// What the status page is told.
#include "engine/serving/gateway/status_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace dsl::serving {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr char kInfo[] = R"({"dtype":"bf16","kernels":"avx2","num_running":3,"num_waiting":2,
  "max_waiting":8,"kv_blocks_used":5,"kv_blocks_total":20,"kv_tokens":640,"max_position_embeddings":512,"draining":false,
  "links":[{"peer":1,"transport":"shm","device":"memory"}]})";

std::string metrics(int num_tokens, double age_s, double wait_s) {
  return fmt::format(
      "# HELP vllm:prompt_tokens_total Tokens\n"
      "vllm:prompt_tokens_total{{model_name=\"a b}}\"}} {0}\n"
      "vllm:generation_tokens_total{{model_name=\"m\"}} {0}\n"
      "vllm:prefix_cache_queries_total{{model_name=\"m\"}} 100\n"
      "vllm:prefix_cache_hits_total{{model_name=\"m\"}} 25\n"
      "dslaunch_rank_healthy{{host=\"n0\",model_name=\"m\",rank=\"0\"}} 1\n"
      "dslaunch_rank_healthy{{host=\"n1\",model_name=\"m\",rank=\"1\"}} 0\n"
      "dslaunch_rank_state_age_seconds{{host=\"n0\",model_name=\"m\",rank=\"0\"}} 0\n"
      "dslaunch_rank_state_age_seconds{{host=\"n1\",model_name=\"m\",rank=\"1\"}} {1}\n"
      "dslaunch_transport_link_info{{device=\"memory\",peer=\"1\",rank=\"0\",transport=\"shm\"}} "
      "1\n"
      "dslaunch_hop_sent_bytes_total{{peer=\"0\",purpose=\"tensor\",rank=\"1\"}} {0}\n"
      "dslaunch_hop_wait_seconds_total{{peer=\"0\",purpose=\"tensor\",rank=\"1\"}} {2}\n"
      "dslaunch_decode_limit_fraction 0.5\n",
      num_tokens, age_s, wait_s);
}

ServiceEntry entry(const std::string& id, ServiceRole role) {
  ServiceEntry result;
  result.id = id;
  result.role = role;
  result.endpoint = "10.0.0.1:1";
  result.pid = 7;
  result.tp = 2;
  return result;
}

class StatusReportTest : public testing::Test {
 protected:
  StatusReportTest() {
    const ServiceList services{
        {entry("engine-0", ServiceRole::kEngine), entry("gateway-0", ServiceRole::kGateway)}, ""};
    router_.set_engines(services.entries);
    report_.set_services(services);
  }

  void note(int num_tokens, std::chrono::seconds at, double age_s = 0, double wait_s = 0) {
    report_.note_figures(engine_, parse_engine_figures(kInfo, metrics(num_tokens, age_s, wait_s)),
                         start_ + at);
  }
  json shown(std::uint64_t since = 0) const {
    return json::parse(report_.to_json(router_, false, since));
  }
  json last(const std::string& column) const {
    const json history = shown()["history"];
    const auto& names = history["columns"];
    const auto at = std::find(names.begin(), names.end(), column) - names.begin();
    return history["rows"].back()[static_cast<std::size_t>(at)];
  }

  const EngineKey engine_{"engine-0", "10.0.0.1:1"};
  const StatusReport::Clock::time_point start_{100s};
  Router router_;
  RequestLatencies latencies_;
  StatusReport report_{{"m", "1.2", 7, 1000}};
};

TEST_F(StatusReportTest, AnEngineIsUnknownUntilItHasAnswered) {
  const json replica = shown()["replicas"][0];
  EXPECT_TRUE(replica["figures"].is_null());
  EXPECT_FALSE(replica["is_in_rotation"]);
  EXPECT_EQ(replica["ranks"],
            json::parse(R"([{"rank":0,"state":"unknown"},{"rank":1,"state":"unknown"}])"));
}

TEST_F(StatusReportTest, ShowsWhatAnEngineSaysOfItself) {
  router_.note_probe(engine_, true);
  note(10, 0s);
  const json replica = shown()["replicas"][0];
  EXPECT_TRUE(replica["is_in_rotation"]);
  EXPECT_EQ(replica["figures"]["num_waiting"], 2);
  EXPECT_EQ(replica["figures"]["prefix_hits"], 25);
  EXPECT_EQ(replica["figures"]["decode_limit_fraction"], 0.5);
  EXPECT_EQ(replica["figures"]["links"],
            json::parse(R"([{"rank":0,"peer":1,"transport":"shm","device":"memory"}])"));
  EXPECT_EQ(replica["ranks"],
            json::parse(R"([{"rank":0,"state":"healthy","host":"n0","told_s_ago":0},
                            {"rank":1,"state":"unhealthy","host":"n1","told_s_ago":0}])"));
}

TEST_F(StatusReportTest, HopsHavePacesOverTheTimeBetweenTellings) {
  note(100, 0s, 0.5, 1);
  EXPECT_EQ(shown()["replicas"][0]["hops"], json::array());
  note(400, 1s, 0, 1.75);  // told 1.5 s later
  EXPECT_EQ(shown()["replicas"][0]["hops"],
            json::parse(R"([{"rank":1,"peer":0,"purpose":"tensor","sent_bytes_per_s":200,
                             "waiting":0.5}])"));
  note(400, 2s, 1, 1.75);  // nothing new was told
  EXPECT_TRUE(shown()["replicas"][0]["hops"][0]["sent_bytes_per_s"].is_null());
  report_.note_figures(engine_, fail(ErrorCode::kTransport, "", "gone"), start_ + 3s);
  EXPECT_EQ(shown()["replicas"][0]["hops"], json::array());
}

TEST_F(StatusReportTest, PaceIsOverTheTimeBetweenTwoAnswers) {
  note(10, 0s);
  note(410, 2s);
  report_.add_sample(latencies_, 2000);
  EXPECT_EQ(last("generation_tokens_per_s"), 200);
  EXPECT_EQ(last("prompt_tokens_per_s"), 200);
  EXPECT_EQ(last("running"), 3);
  EXPECT_EQ(last("kv_usage"), 0.25);
  EXPECT_TRUE(last("prefix_hit_rate").is_null());
  EXPECT_TRUE(last("e2e_p50_s").is_null());
}

TEST_F(StatusReportTest, AnEngineThatStartsAgainHasNoNegativePace) {
  note(410, 0s);
  note(10, 1s);
  report_.add_sample(latencies_, 2000);
  EXPECT_EQ(last("generation_tokens_per_s"), 0);
}

TEST_F(StatusReportTest, AnEngineThatDoesNotAnswerCountsNoMore) {
  note(10, 0s);
  report_.note_figures(engine_, fail(ErrorCode::kUnreachable, "look there", "refused"),
                       start_ + 1s);
  report_.add_sample(latencies_, 2000);
  EXPECT_EQ(last("running"), 0);
  const json replica = shown()["replicas"][0];
  EXPECT_EQ(replica["problem"]["code"], "DSL-603");
  EXPECT_EQ(replica["problem"]["remedy"], "look there");
  EXPECT_EQ(replica["ranks"][0]["state"], "unknown");
  note(900, 5s);
  EXPECT_EQ(shown()["replicas"][0]["generation_tokens_per_s"], 0) << "the gap has no pace";
}

TEST_F(StatusReportTest, TheContextIsThatOfTheEngineWithTheLeast) {
  constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(report_.least_context_tokens(), kAny);
  note(10, 0s);
  EXPECT_EQ(report_.least_context_tokens(), 512) << "the model's";
  std::string smaller = kInfo;
  smaller.replace(smaller.find("640"), 3, "64");
  report_.note_figures(engine_, parse_engine_figures(smaller, metrics(10, 0, 0)), start_);
  EXPECT_EQ(report_.least_context_tokens(), 64);
  report_.set_services({});
  EXPECT_EQ(report_.least_context_tokens(), kAny);
}

TEST_F(StatusReportTest, FiguresOfAnEngineThatIsGoneAreDropped) {
  report_.set_services({});
  note(10, 0s);
  EXPECT_TRUE(shown()["replicas"].empty());
}

TEST_F(StatusReportTest, ServicesSayWhichOneAnswers) {
  const json service = shown()["services"][0];
  EXPECT_EQ(service["role"], "gateway");
  EXPECT_TRUE(service["is_this_gateway"]);
}

TEST_F(StatusReportTest, GivesOnlySamplesThatAreNewAndKeepsTenMinutes) {
  for (int i = 0; i < 700; ++i) report_.add_sample(latencies_, i);
  EXPECT_EQ(shown()["history"]["rows"].size(), 600u);
  EXPECT_EQ(shown()["history"]["first"], 100);
  const json history = shown(698)["history"];
  EXPECT_EQ(history["first"], 698);
  EXPECT_EQ(history["rows"].size(), 2u);
  EXPECT_EQ(history["rows"][1][0], 699);
  EXPECT_TRUE(shown(5000)["history"]["rows"].empty());
}

TEST_F(StatusReportTest, ErrorsCarryTheirRemedy) {
  report_.errors().note("engine-0", {ErrorCode::kOverloaded, "full", "wait"}, 5);
  const json error = shown()["errors"][0];
  EXPECT_EQ(error["code"], "DSL-504");
  EXPECT_EQ(error["where"], "engine-0");
  EXPECT_EQ(error["remedy"], "wait");
}

TEST(RecentErrorsTest, EqualErrorsAreOneAndTheLatestIsFirst) {
  RecentErrors errors;
  const Error refused{ErrorCode::kUnreachable, "refused", ""};
  errors.note("a", refused, 1);
  errors.note("b", refused, 2);
  errors.note("a", refused, 3);
  ASSERT_EQ(errors.errors().size(), 2u);
  EXPECT_EQ(errors.errors()[0].where, "a");
  EXPECT_EQ(errors.errors()[0].count, 2);
  EXPECT_EQ(errors.errors()[0].first_unix_s, 1);
  EXPECT_EQ(errors.errors()[0].last_unix_s, 3);
}

TEST(RecentErrorsTest, MemoryIsBounded) {
  RecentErrors errors;
  for (int i = 0; i < 200; ++i)
    errors.note(std::to_string(i), {ErrorCode::kDeadlineExceeded, std::string(10'000, 'x'), ""}, i);
  EXPECT_EQ(errors.errors().size(), RecentErrors::kCapacity);
  EXPECT_EQ(errors.errors()[0].where, "199");
  EXPECT_LE(errors.errors()[0].error.message.size(), 500u);
}

TEST(LatencyWindowTest, PercentilesAreNear) {
  LatencyWindow window;
  EXPECT_FALSE(window.percentiles().has_value());
  for (int i = 1; i <= 1000; ++i) window.note(i * 1e-3);
  const auto found = window.percentiles();
  ASSERT_TRUE(found.has_value());
  EXPECT_NEAR(found->p50_s, 0.5, 0.5 * 0.08);
  EXPECT_NEAR(found->p90_s, 0.9, 0.9 * 0.08);
  EXPECT_NEAR(found->p99_s, 0.99, 0.99 * 0.08);
}

TEST(LatencyWindowTest, ForgetsAfterHalfAMinute) {
  LatencyWindow window;
  window.note(1, 5);
  for (std::size_t i = 1; i < LatencyWindow::kNumSeconds; ++i) window.next_second();
  EXPECT_TRUE(window.percentiles().has_value());
  window.next_second();
  EXPECT_FALSE(window.percentiles().has_value());
}

TEST(LatencyWindowTest, ValuesOutsideTheScaleAreAtItsEnds) {
  LatencyWindow window;
  window.note(0);
  window.note(-1);
  EXPECT_LT(window.percentiles()->p99_s, 2e-5);
  window.note(1e9, 10);
  EXPECT_GT(window.percentiles()->p50_s, 900);
}

TEST(EngineFiguresTest, AnotherAnswerIsAnError) {
  for (const char* info : {"", "[]", "{}", R"({"dtype":3})"}) {
    const auto figures = parse_engine_figures(info, "");
    ASSERT_FALSE(figures.has_value()) << info;
    EXPECT_EQ(figures.error().code, ErrorCode::kProtocol);
  }
}

TEST(EngineFiguresTest, MetricsOfAnotherFormAreLeftOut) {
  for (const char* text : {"", "\n\n", "x", "x{", "x{ 1", "vllm:prompt_tokens_total nonsense",
                           "dslaunch_rank_healthy{rank=\"x\"} 1", "dslaunch_rank_healthy{rank=} 1",
                           "dslaunch_rank_healthy{arank=\"1\"} 1", "}{ 1"}) {
    const auto figures = parse_engine_figures(kInfo, text);
    ASSERT_TRUE(figures.has_value()) << text;
    EXPECT_EQ(figures->num_prompt_tokens, 0) << text;
    EXPECT_TRUE(figures->ranks.empty()) << text;
  }
}

}  // namespace
}  // namespace dsl::serving
