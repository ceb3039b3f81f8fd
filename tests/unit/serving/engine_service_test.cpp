#include "engine/serving/engine_port/engine_service.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <nlohmann/json.hpp>

#include "raw_client.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

const std::filesystem::path kDemo =
    std::filesystem::path(DSL_TEST_DATA_DIR) / "demo_model" / "arith-bf16";

/// An engine whose tokens come from the test.
class ScriptedEngine final : public Engine {
 public:
  ScriptedEngine() {
    info_.model_type = "deepseek_v3";
    info_.vocab_size = 4;
    info_.kv_tokens = 99;
  }

  const EngineInfo& info() const override { return info_; }
  std::shared_ptr<const RankPulse> pulse() const override {
    return std::make_shared<const RankPulse>();
  }
  std::shared_ptr<const DeviceUse> device_use() const override { return nullptr; }
  Status follow() override { return {}; }
  Status start(std::function<void(const Error&)>) override { return {}; }
  Result<RequestId> submit(GenerateRequest request, EventSink sink) override {
    const std::scoped_lock lock(mutex_);
    if (request.is_canary) {
      canaries_.push_back(std::move(request));
      changed_.notify_all();
      return 0;
    }
    if (refusal) return tl::unexpected<Error>(*refusal);
    requests_.push_back(std::move(request));
    sinks_.push_back(std::move(sink));
    changed_.notify_all();
    return sinks_.size() - 1;
  }
  void cancel(RequestId id) override {
    const std::scoped_lock lock(mutex_);
    cancelled_.push_back(id);
    changed_.notify_all();
  }
  Status score(std::span<const std::int32_t> token_ids,
               std::function<void(std::span<const float>)> rows) override {
    if (token_ids[0] == 999) return dsl::fail(ErrorCode::kRequestInvalid, "r", "no such token");
    for (const std::int32_t id : token_ids) rows(std::vector<float>(4, static_cast<float>(id)));
    if (token_ids[0] == 998) return dsl::fail(ErrorCode::kPeerLost, "r", "rank 1 is gone");
    return {};
  }
  EngineStats stats() const override {
    const std::scoped_lock lock(mutex_);
    return stats_;
  }
  void shutdown() override {}
  void set_stats(const EngineStats& stats) {
    const std::scoped_lock lock(mutex_);
    stats_ = stats;
  }

  EventSink wait_for_request(std::size_t index, GenerateRequest* request = nullptr) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [&] { return sinks_.size() > index; }));
    if (request != nullptr) *request = requests_[index];
    return sinks_[index];
  }
  GenerateRequest wait_for_canary(std::size_t index) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [&] { return canaries_.size() > index; }));
    return canaries_[index];
  }
  bool wait_for_cancel(RequestId id) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(
        lock, 20s, [&] { return std::count(cancelled_.begin(), cancelled_.end(), id) > 0; });
  }

  std::optional<Error> refusal;

 private:
  EngineInfo info_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  EngineStats stats_;
  std::vector<GenerateRequest> requests_;
  std::vector<GenerateRequest> canaries_;
  std::vector<EventSink> sinks_;
  std::vector<RequestId> cancelled_;
};

GenerateEvent tokens(std::vector<std::int32_t> ids) {
  GenerateEvent event;
  for (const std::int32_t id : ids) event.tokens.push_back({id, -0.5f, {{id, -0.5f}}});
  return event;
}

GenerateEvent last(std::vector<std::int32_t> ids, FinishReason reason) {
  GenerateEvent event = tokens(std::move(ids));
  event.finished = true;
  event.finish_reason = reason;
  event.timings = {1, 2, 3, 4};
  return event;
}

/// The NDJSON lines of a chunked answer, which the test's small answers carry one or more to a
/// chunk.
std::vector<json> lines_of(const std::string& answer) {
  std::vector<json> lines;
  std::size_t begin = 0;
  while ((begin = answer.find('{', begin)) != std::string::npos) {
    const std::size_t end = answer.find('\n', begin);
    lines.push_back(json::parse(answer.substr(begin, end - begin)));
    begin = end;
  }
  return lines;
}

class EngineServiceTest : public testing::Test {
 protected:
  void start(const std::filesystem::path& model_dir) {
    auto text = TextCodec::load(model_dir);
    ASSERT_TRUE(text.has_value()) << text.error().message;
    tokenizer_.emplace(*text::Tokenizer::load(kDemo));
    service_.emplace(
        engine_, ranks_, *std::move(text),
        ServiceDescription{"models/m", "m", 2, 1, DType::kBF16, true, true, {{1, "tcp", "eth0"}}},
        "secret");
    auto server = HttpServer::start({}, *service_);
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = *std::move(server);
  }
  RawClient connect() { return RawClient(server_->endpoint()); }
  RawClient post(std::string_view target, std::string_view body) {
    RawClient client = connect();
    client.send(http_post(target, "secret", body));
    return client;
  }
  std::vector<std::int32_t> ids_of(std::string_view text) { return *tokenizer_->encode(text); }

  static RankState own_state() {
    RankState state;
    state.host = "n1";
    state.num_steps = 5;
    state.traffic = {{1, wire::Channel::kCollective, 100, 200, 0.5}};
    return state;
  }

  ScriptedEngine engine_;
  RankBoard ranks_{2, own_state, RankBoard::Clock::now() - 1h};  // rank 1 has never been heard
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<EngineService> service_;
  std::unique_ptr<HttpServer> server_;  // ends before the service
};

TEST_F(EngineServiceTest, StreamsTokensTextAndUsage) {
  start(kDemo);
  RawClient client = post(
      "/v1/generate", R"({"token_ids":[5,6,7],"max_tokens":9,"sampling":{"logprobs":1,"seed":3}})");
  GenerateRequest request;
  const auto sink = engine_.wait_for_request(0, &request);
  EXPECT_THAT(request.prompt_token_ids, ElementsAre(5, 6, 7));
  EXPECT_EQ(request.max_tokens, 9);
  const auto hello = ids_of("hello");
  sink(tokens(hello));
  ASSERT_TRUE(client.read_until("hello"));
  sink(last(ids_of(" world"), FinishReason::kLength));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EXPECT_THAT(client.received(), HasSubstr("Content-Type: application/x-ndjson"));
  const auto lines = lines_of(client.received());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["token_ids"], json(hello));
  EXPECT_EQ(lines[0]["logprobs"][0]["token_id"], hello[0]);
  EXPECT_EQ(lines[0]["logprobs"][0]["top"][0]["logprob"], -0.5);
  EXPECT_EQ(lines[1]["text"], " world");
  EXPECT_EQ(lines[2]["finish_reason"], "length");
  EXPECT_EQ(lines[2]["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(lines[2]["usage"]["completion_tokens"], hello.size() + ids_of(" world").size());
  EXPECT_EQ(lines[2]["timings"]["time_to_first_token_s"], 4);
  EXPECT_EQ(lines[2]["seed"], 3);
}

TEST_F(EngineServiceTest, AStopStringEndsTextAndRequest) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"prompt":"x","sampling":{"stop":"lo w"}})");
  const auto sink = engine_.wait_for_request(0);
  for (const std::int32_t id : ids_of("hello world")) sink(tokens({id}));
  ASSERT_TRUE(engine_.wait_for_cancel(0));
  sink(last({}, FinishReason::kCancelled));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  std::string text;
  for (const json& line : lines_of(client.received())) text += line.value("text", "");
  EXPECT_EQ(text, "hel");
  EXPECT_EQ(lines_of(client.received()).back()["finish_reason"], "stop");
}

TEST_F(EngineServiceTest, AContinuationGoesOnWithHeldBackText) {
  start(kDemo);
  const auto ids = ids_of("hello");
  RawClient client = post(
      "/v1/generate",
      json{{"prompt", "x"}, {"emitted_token_ids", ids}, {"sampling", {{"stop", "o!"}}}}.dump());
  GenerateRequest request;
  const auto sink = engine_.wait_for_request(0, &request);
  EXPECT_EQ(request.emitted_token_ids, ids);
  sink(last(ids_of("?"), FinishReason::kStop));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EXPECT_EQ(lines_of(client.received())[0]["text"],
            "o?");  // the "o" might have begun the stop string
}

TEST_F(EngineServiceTest, AStopTokenIsNotPartOfTheText) {
  start(kDemo);
  const auto ids = ids_of("a b");
  RawClient client =
      post("/v1/generate",
           json{{"prompt", "x"}, {"sampling", {{"stop_token_ids", {ids.back()}}}}}.dump());
  const auto sink = engine_.wait_for_request(0);
  sink(last(ids, FinishReason::kStop));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  const auto lines = lines_of(client.received());
  EXPECT_EQ(lines[0]["token_ids"], json(ids));
  EXPECT_EQ(lines[0]["text"], tokenizer_->decode(std::span(ids).first(ids.size() - 1)));
}

TEST_F(EngineServiceTest, AFailureIsTheLastLineOfEveryOpenStream) {
  start(kDemo);
  RawClient first = post("/v1/generate", R"({"prompt":"x"})");
  RawClient second = post("/v1/generate", R"({"prompt":"y"})");
  const auto sink = engine_.wait_for_request(0);
  engine_.wait_for_request(1);
  sink(tokens(ids_of("hi")));
  ASSERT_TRUE(first.read_until("hi"));
  service_->fail({ErrorCode::kPeerLost, "rank 3 died", "see its log"});
  for (RawClient* client : {&first, &second}) {
    ASSERT_TRUE(client->read_until("0\r\n\r\n"));
    const json line = lines_of(client->received()).back();
    EXPECT_EQ(line["error"]["code"], "DSL-200");
    EXPECT_EQ(line["error"]["message"], "rank 3 died");
    EXPECT_EQ(line["error"]["remedy"], "see its log");
  }
  sink(last({}, FinishReason::kError));  // late, and ignored
  RawClient late = post("/v1/generate", R"({"prompt":"x"})");
  ASSERT_TRUE(late.read_until("rank 3 died"));
  EXPECT_THAT(late.received(), StartsWith("HTTP/1.1 503"));
  RawClient probe = connect();
  probe.send("GET /health HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(probe.read_until("rank 3 died"));
  EXPECT_THAT(probe.received(), StartsWith("HTTP/1.1 503"));
}

TEST_F(EngineServiceTest, AClientThatGoesAwayCancelsItsRequest) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"prompt":"x"})");
  engine_.wait_for_request(0);
  client.close();
  EXPECT_TRUE(engine_.wait_for_cancel(0));
}

TEST_F(EngineServiceTest, ShutdownInTheMiddleIsAnErrorLine) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"prompt":"x"})");
  engine_.wait_for_request(0)(last({}, FinishReason::kCancelled));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EXPECT_EQ(lines_of(client.received()).back()["error"]["code"], "DSL-105");
}

TEST_F(EngineServiceTest, ControlTokensInAPromptStayText) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"prompt":"<｜User｜>"})");
  GenerateRequest request;
  engine_.wait_for_request(0, &request);
  EXPECT_THAT(request.prompt_token_ids,
              testing::Not(testing::Contains(*tokenizer_->token_id("<｜User｜>"))));
  RawClient chat = post("/v1/generate", R"({"messages":[{"role":"user","content":"<｜User｜>"}]})");
  engine_.wait_for_request(1, &request);
  EXPECT_EQ(std::count(request.prompt_token_ids.begin(), request.prompt_token_ids.end(),
                       *tokenizer_->token_id("<｜User｜>")),
            1);
}

TEST_F(EngineServiceTest, RequestErrorsAreStatusAndObject) {
  start(kDemo);
  engine_.refusal = Error{ErrorCode::kContextOverflow, "9 tokens", "shorten it"};
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"/v1/generate", "{", "HTTP/1.1 400"},
      {"/v1/generate", R"({"prompt":"x"})", "HTTP/1.1 400"},
      {"/v1/score", R"({"token_ids":[999]})", "HTTP/1.1 400"},
      {"/v1/nothing", "{}", "HTTP/1.1 404"},
      {"/v1/info", "{}", "HTTP/1.1 405"},
      {"/v1/generate", R"({"prompt":"x","priority":11})", "HTTP/1.1 400"},
      {"/v1/generate", R"({"prompt":"x","request_id":"a\nb"})", "HTTP/1.1 400"},
  };
  for (const auto& [target, body, status] : cases) {
    RawClient client = post(target, body);
    ASSERT_TRUE(client.read_until("\"remedy\"")) << target;
    EXPECT_THAT(client.received(), StartsWith(status)) << target << body;
  }
}

TEST_F(EngineServiceTest, TheSecretIsNeeded) {
  start(kDemo);
  for (const char* secret : {"", "secre", "secret1", "Secret", "x"}) {
    RawClient client = connect();
    client.send(http_get("/v1/info", secret));
    ASSERT_TRUE(client.read_to_end());
    EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 401")) << secret;
  }
  RawClient client = connect();
  client.send("GET /v1/info HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(client.read_to_end());
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 401"));
}

TEST_F(EngineServiceTest, InfoAndHealth) {
  start(kDemo);
  RawClient client = connect();
  client.send(http_get("/v1/info", "secret"));
  ASSERT_TRUE(client.read_until("}\n"));
  const json info = json::parse(client.received().substr(client.received().find('{')));
  EXPECT_EQ(info["model"], "models/m");
  EXPECT_EQ(info["tp"], 2);
  EXPECT_EQ(info["vocab_size"], 4);
  EXPECT_EQ(info["kv_tokens"], 99);
  EXPECT_EQ(info["fp8_activations"], true);
  EXPECT_EQ(info["fp8_cache"], true);
  EXPECT_EQ(info["links"][0]["transport"], "tcp");
  EXPECT_GT(info["resident_bytes"], 1'000'000);
  EXPECT_TRUE(info["has_tokenizer"]);
  client.take_received();
  client.send("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(client.read_until("{\"status\":\"ok\",\"ranks\":["));
}

std::string dechunked(const std::string& answer) {
  std::string body;
  std::size_t at = answer.find("\r\n\r\n") + 4;
  while (true) {
    const std::size_t size = std::stoul(answer.substr(at), nullptr, 16);
    if (size == 0) return body;
    at = answer.find("\r\n", at) + 2;
    body += answer.substr(at, size);
    at += size + 2;
  }
}

TEST_F(EngineServiceTest, TermsOfARequestReachTheEngineAndTextCanBeLeftOut) {
  start(kDemo);
  RawClient client = post("/v1/generate",
                          R"({"token_ids":[5],"tenant":"t","priority":-3,"request_id":"r-1",
                              "return_text":false,"sampling":{"stop":"lo"}})");
  GenerateRequest request;
  const auto sink = engine_.wait_for_request(0, &request);
  EXPECT_EQ(request.tenant, "t");
  EXPECT_EQ(request.priority, -3);
  for (const std::int32_t id : ids_of("hello world")) sink(tokens({id}));
  ASSERT_TRUE(engine_.wait_for_cancel(0)) << "stop strings end an answer without text too";
  GenerateEvent end = last({}, FinishReason::kCancelled);
  end.cached_prompt_tokens = 1;
  sink(end);
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  const auto lines = lines_of(client.received());
  for (const json& line : lines) EXPECT_FALSE(line.contains("text"));
  EXPECT_EQ(lines.back()["usage"]["cached_prompt_tokens"], 1);
}

TEST_F(EngineServiceTest, AnAnswerThatItsClientStopsCountsAsStopped) {
  start(kDemo);
  RawClient other = post("/v1/generate", R"({"token_ids":[5],"stream_id":"a-2"})");
  engine_.wait_for_request(0);
  RawClient client =
      post("/v1/generate", R"({"token_ids":[5],"stream_id":"a-1","return_text":false})");
  const auto sink = engine_.wait_for_request(1);
  sink(tokens({1}));
  ASSERT_TRUE(client.read_until("token_ids"));
  RawClient stop = post("/v1/stop", R"({"stream_id":"a-1"})");
  ASSERT_TRUE(stop.read_until("{\"stopped\":1}\n")) << stop.received();
  ASSERT_TRUE(engine_.wait_for_cancel(1));
  sink(last({2}, FinishReason::kCancelled));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  const auto lines = lines_of(client.received());
  EXPECT_EQ(lines.back()["finish_reason"], "stop");
  EXPECT_EQ(lines.back()["usage"]["completion_tokens"], 1) << "what came behind it is left out";
  RawClient late = post("/v1/stop", R"({"stream_id":"a-1"})");
  ASSERT_TRUE(late.read_until("{\"stopped\":0}\n")) << late.received();
  RawClient wrong = post("/v1/stop", R"({"stream_id":""})");
  ASSERT_TRUE(wrong.read_until("\"remedy\""));
  EXPECT_THAT(wrong.received(), StartsWith("HTTP/1.1 400"));
  RawClient scrape = connect();
  scrape.send("GET /metrics HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\r\n");
  ASSERT_TRUE(scrape.read_to_end());
  EXPECT_THAT(scrape.received(),
              HasSubstr("vllm:request_success_total{finished_reason=\"stop\",model_name=\"m\"} 1"));
}

TEST_F(EngineServiceTest, FullQueueSaysWhenToComeBack) {
  start(kDemo);
  engine_.refusal = Error{ErrorCode::kOverloaded, "the queue is full", "later"};
  EngineStats stats;
  stats.num_waiting = 40;
  stats.admissions_per_s = 8;
  engine_.set_stats(stats);
  RawClient client = post("/v1/generate", R"({"prompt":"x"})");
  ASSERT_TRUE(client.read_until("\"remedy\""));
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 429"));
  EXPECT_THAT(client.received(), HasSubstr("Retry-After: 5\r\n"));
}

TEST_F(EngineServiceTest, DrainingEngineEndsWhatRunsAndTakesNothingNew) {
  start(kDemo);
  RawClient running = post("/v1/generate", R"({"prompt":"x"})");
  const auto sink = engine_.wait_for_request(0);
  EngineStats stats;
  stats.num_running = 1;
  engine_.set_stats(stats);
  RawClient drain = post("/v1/drain", "");
  ASSERT_TRUE(drain.read_until("}\n"));
  EXPECT_THAT(drain.received(), HasSubstr(R"({"draining":true,"running":1})"));
  RawClient refused = post("/v1/generate", R"({"prompt":"x"})");
  ASSERT_TRUE(refused.read_until("\"remedy\""));
  EXPECT_THAT(refused.received(), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refused.received(), HasSubstr("Retry-After"));
  EXPECT_THAT(refused.received(), HasSubstr("DSL-105"));
  sink(last(ids_of("hi"), FinishReason::kStop));
  ASSERT_TRUE(running.read_until("0\r\n\r\n"));
  EXPECT_EQ(lines_of(running.received()).back()["finish_reason"], "stop");
}

TEST_F(EngineServiceTest, AnIdleEngineIsKeptAliveByACanaryThatNobodyAskedFor) {
  start(kDemo);
  const GenerateRequest canary = engine_.wait_for_canary(0);
  EXPECT_EQ(canary.max_tokens, 1);
  EXPECT_LT(canary.priority, -10);
  engine_.wait_for_canary(1);
  RawClient probe = connect();
  probe.send("GET /health HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(probe.read_until("{\"status\":\"ok\",\"ranks\":["));

  EngineStats stuck;
  stuck.is_busy = true;
  stuck.silence = 3100ms;
  stuck.patience = 3000ms;
  engine_.set_stats(stuck);
  probe.take_received();
  probe.send("GET /health HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(probe.read_until("DSL-104"));
  EXPECT_THAT(probe.received(), StartsWith("HTTP/1.1 503"));
  ASSERT_TRUE(probe.read_until("]}\n"));
  const json body = json::parse(probe.received().substr(probe.received().find('{')));
  EXPECT_THAT(body["error"]["message"].get<std::string>(),
              HasSubstr("rank 1: it has told nothing"));
  EXPECT_EQ(body["ranks"][0], json({{"rank", 0}, {"state", "healthy"}}));
  EXPECT_EQ(body["ranks"][1]["state"], "unhealthy");
  EXPECT_GT(body["ranks"][1]["for_s"], 3000);
}

TEST_F(EngineServiceTest, TokensAreCountedWhileTheirRequestRuns) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"token_ids":[1,2,3]})");
  const auto sink = engine_.wait_for_request(0);
  sink(tokens({1, 2}));
  ASSERT_TRUE(client.read_until("token_ids"));
  RawClient scraper = connect();
  scraper.send(http_get("/metrics", "secret"));
  ASSERT_TRUE(scraper.read_until("vllm:generation_tokens_total{model_name=\"m\"} 2"));
  EXPECT_THAT(scraper.received(), HasSubstr("vllm:prompt_tokens_total{model_name=\"m\"} 3"));
  sink(last({3}, FinishReason::kLength));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  scraper.take_received();
  scraper.send(http_get("/metrics", "secret"));
  ASSERT_TRUE(scraper.read_until("vllm:generation_tokens_total{model_name=\"m\"} 3"));
  EXPECT_THAT(scraper.received(), HasSubstr("vllm:prompt_tokens_total{model_name=\"m\"} 3"));
}

TEST_F(EngineServiceTest, MetricsTellRequestsStepsAndLinks) {
  start(kDemo);
  RawClient client = post("/v1/generate", R"({"token_ids":[1,2,3]})");
  engine_.wait_for_request(0)(last({1, 2}, FinishReason::kLength));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EngineStats stats;
  stats.num_running = 2;
  stats.kv_blocks_total = 10;
  stats.kv_blocks_used = 5;
  stats.num_preemptions = 7;
  stats.step_seconds[0] = 3;
  stats.step_seconds_sum = 0.001;
  engine_.set_stats(stats);
  for (int scrape = 0; scrape < 2; ++scrape) {  // totals do not grow by being read
    RawClient scraper = connect();
    scraper.send(http_get("/metrics", "secret"));
    ASSERT_TRUE(scraper.read_until("dslaunch_step_seconds_count{model_name=\"m\"} 3"));
    for (const char* line :
         {"vllm:num_requests_running{model_name=\"m\"} 2",
          "vllm:kv_cache_usage_perc{model_name=\"m\"} 0.5",
          "vllm:num_preemptions_total{model_name=\"m\"} 7",
          "vllm:prompt_tokens_total{model_name=\"m\"} 3",
          "vllm:generation_tokens_total{model_name=\"m\"} 2",
          "vllm:request_success_total{finished_reason=\"length\",model_name=\"m\"} 1",
          "vllm:time_to_first_token_seconds_count{model_name=\"m\"} 1",
          "dslaunch_step_seconds_count{model_name=\"m\"} 3",
          "dslaunch_hop_received_bytes_total{model_name=\"m\",peer=\"1\",purpose=\"tensor\","
          "rank=\"0\"} 200",
          "dslaunch_rank_steps_total{host=\"n1\",model_name=\"m\",rank=\"0\"} 5",
          "dslaunch_rank_healthy{host=\"n1\",model_name=\"m\",rank=\"0\"} 1",
          "dslaunch_engine_healthy{model_name=\"m\"} 1"}) {
      EXPECT_THAT(scraper.received(), HasSubstr(line));
    }
  }
}

TEST_F(EngineServiceTest, ScoreStreamsRowsOfFloats) {
  start(kDemo);
  RawClient client = post("/v1/score", R"({"token_ids":[1,2,3]})");
  ASSERT_TRUE(client.read_until("\r\n0\r\n\r\n"));
  EXPECT_THAT(client.received(), HasSubstr("Content-Type: application/octet-stream"));
  const std::string body = dechunked(client.received());
  ASSERT_EQ(body.size(), 3 * 4 * sizeof(float));
  std::vector<float> rows(12);
  std::memcpy(rows.data(), body.data(), body.size());
  EXPECT_THAT(rows, ElementsAre(1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
}

TEST_F(EngineServiceTest, AScoreThatFailsIsNeverComplete) {
  start(kDemo);
  RawClient client = post("/v1/score", R"({"token_ids":[998,2]})");
  ASSERT_TRUE(client.read_until("rank 1 is gone") || client.read_to_end());
  EXPECT_THAT(client.received(), testing::Not(HasSubstr("\r\n0\r\n\r\n")));
}

TEST_F(EngineServiceTest, WithoutATokenizerIdsStillWork) {
  start("/nonexistent");
  RawClient client = post("/v1/generate", R"({"token_ids":[1]})");
  engine_.wait_for_request(0)(last({2}, FinishReason::kStop));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  const auto lines = lines_of(client.received());
  EXPECT_EQ(lines[0], json({{"token_ids", {2}}}));
  for (const char* body : {R"({"prompt":"a"})", R"({"messages":[{"role":"user","content":"a"}]})",
                           R"({"token_ids":[1],"sampling":{"stop":"a"}})"}) {
    RawClient refused = post("/v1/generate", body);
    ASSERT_TRUE(refused.read_until("no tokenizer.json")) << body;
    EXPECT_THAT(refused.received(), StartsWith("HTTP/1.1 404"));
  }
}

}  // namespace
}  // namespace dsl::serving
