// Text services that come, die and hang while a gateway answers: its clients see no difference.
#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "gateway_fixture.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr char kByService[] =
    R"(dslaunch_gateway_text_work_total{by="service",work="postprocess"})";
constexpr char kHere[] = R"(dslaunch_gateway_text_work_total{by="gateway",work="postprocess"})";
constexpr char kFailures[] = R"(dslaunch_gateway_text_failures_total{work="postprocess"})";

/// An engine and a gateway; how the gateway answers by itself.
class TextServicesE2eTest : public GatewayFixture {
 protected:
  void SetUp() override {
    GatewayFixture::SetUp();
    engine_ = start_engine();
    engine_endpoint_ = endpoint_of(*engine_);
    announce("e0", "engine", engine_endpoint_);
    start_gateway();
    ASSERT_TRUE(wait_ready(1));
    own_ = whole_answer(chat());
  }
  double gateway_metric(const std::string& name) { return metric(get("/metrics"), name); }
  /// Starts a service that the gateway knows of.
  std::unique_ptr<Child> add(const std::string& id, const std::string& role) {
    auto child = start_text(role);
    announce(id, role, endpoint_of(*child));
    EXPECT_TRUE(wait_known(id));
    return child;
  }

  /// Waits until services have presented this many more updates; false after 20 s.
  bool wait_for_updates(int num_updates) {
    const double wanted = gateway_metric(kByService) + num_updates;
    const Deadline deadline = Deadline::after(20s);
    while (!deadline.expired()) {
      if (gateway_metric(kByService) >= wanted) return true;
    }
    return false;
  }

  std::string engine_metrics() { return get_from(engine_endpoint_, "/metrics", kSecret); }

  std::unique_ptr<Child> engine_;
  std::string engine_endpoint_;
  std::string own_;
};

TEST_F(TextServicesE2eTest, TheEngineCountsAnswersThatStopStringsEndedAsStopped) {
  const std::string stop = own_.substr(own_.size() / 2, 3);
  const std::string cut = own_.substr(0, own_.find(stop));
  const std::string question = chat(false, ",\"stop\":" + json(stop).dump(), 400);
  const auto wait_for_stopped = [&](int num_stopped) {
    const std::string wanted = fmt::format("\"}} {}\n", num_stopped);
    const Deadline deadline = Deadline::after(20s);
    while (!deadline.expired()) {
      const std::string text = engine_metrics();
      const std::size_t at = text.find(R"(vllm:request_success_total{finished_reason="stop")");
      if (at != std::string::npos && text.find(wanted, at) < text.find('\n', at)) return true;
    }
    return false;
  };
  EXPECT_EQ(whole_answer(question), cut);
  EXPECT_TRUE(wait_for_stopped(1)) << engine_metrics();
  const auto service = add("post-0", "postprocess");
  EXPECT_EQ(whole_answer(question), cut);
  EXPECT_TRUE(wait_for_stopped(2)) << engine_metrics();
  const std::string text = engine_metrics();
  const std::size_t aborted = text.find(R"(vllm:request_success_total{finished_reason="abort")");
  EXPECT_EQ(text.substr(text.find("} ", aborted), 4), "} 0\n");
}

TEST_F(TextServicesE2eTest, AnswersAreThoseOfTheGatewayItself) {
  const auto service = add("t0", "postprocess");
  const double num_here = gateway_metric(kHere);
  EXPECT_EQ(whole_answer(chat()), own_);
  RawClient client(endpoint_);
  begin_stream(client, chat(true));
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n"));
  EXPECT_EQ(content_of_events(client.received()), own_);
  EXPECT_GT(gateway_metric(kByService), 0);
  EXPECT_EQ(gateway_metric(kHere), num_here);
}

TEST_F(TextServicesE2eTest, AnotherServiceGoesOnWhenOneIsKilled) {
  const std::string own = whole_answer(long_chat(false));
  auto first = add("t0", "postprocess");
  RawClient client(endpoint_);
  begin_stream(client, long_chat(true));
  engine_->signal(SIGSTOP);  // holds the answer in its middle
  const auto second = start_text("postprocess");
  const std::string second_endpoint = endpoint_of(*second);
  announce("t1", "postprocess", second_endpoint);
  ASSERT_TRUE(wait_known("t1"));
  const double num_here = gateway_metric(kHere);
  first.reset();  // kill -9; its entry stays
  EXPECT_LT(content_of_events(client.received()).size(), own.size()) << "the kill came in time";
  engine_->signal(SIGCONT);
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n")) << client.received();
  EXPECT_EQ(content_of_events(client.received()), own);
  EXPECT_GE(gateway_metric(kFailures), 1);
  EXPECT_EQ(gateway_metric(kHere), num_here);
  EXPECT_GE(metric(get_from(second_endpoint, "/metrics", kSecret),
                   R"(dslaunch_text_stream_rebuilds_total{role="postprocess"})"),
            1);
}

TEST_F(TextServicesE2eTest, TheGatewayGoesOnWhenTheLastServiceIsKilledOrHangs) {
  const std::string own = whole_answer(long_chat(false));
  for (const int signal : {SIGKILL, SIGSTOP}) {
    const std::string id = fmt::format("t{}", signal);
    const auto service = add(id, "postprocess");
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(std::make_unique<RawClient>(endpoint_));
      begin_stream(*clients.back(), long_chat(true));
    }
    engine_->signal(SIGSTOP);
    const double num_here = gateway_metric(kHere);
    const double num_failures = gateway_metric(kFailures);
    service->signal(signal);
    for (const auto& client : clients)
      EXPECT_LT(content_of_events(client->received()).size(), own.size()) << "in time";
    engine_->signal(SIGCONT);
    for (const auto& client : clients) {
      ASSERT_TRUE(client->read_until("data: [DONE]\n\n")) << client->received();
      EXPECT_EQ(content_of_events(client->received()), own);
    }
    EXPECT_GT(gateway_metric(kHere), num_here);
    EXPECT_EQ(gateway_metric(kFailures), num_failures + 1)
        << "nobody waits behind a failed request";
    std::filesystem::remove(services() / (id + ".json"));
  }
}

TEST_F(TextServicesE2eTest, WhatComesWhileAServiceWorksIsOneRequest) {
  constexpr int kNumStreams = 4;
  const auto service = start_text("postprocess");
  const std::string service_endpoint = endpoint_of(*service);
  announce("t0", "postprocess", service_endpoint);
  ASSERT_TRUE(wait_known("t0"));
  const auto num_requests = [&] {
    return metric(get_from(service_endpoint, "/metrics", kSecret),
                  R"(dslaunch_text_requests_total{role="postprocess",status="200"})");
  };
  std::vector<std::unique_ptr<RawClient>> clients;
  engine_->signal(SIGSTOP);
  for (int i = 0; i < kNumStreams; ++i) {
    clients.push_back(std::make_unique<RawClient>(endpoint_));
    clients.back()->send(http_post("/v1/chat/completions", kKey, chat(true)));
  }
  service->signal(SIGSTOP);
  engine_->signal(SIGCONT);
  const Deadline deadline = Deadline::after(4s);  // the gateway loses its patience after 5 s
  const auto engine_metric = [&](const char* name) {
    const std::string text = get_from(engine_endpoint_, "/metrics", kSecret);
    const std::size_t at = text.find(fmt::format("\n{}", name));
    return at == std::string::npos ? -1 : std::stod(text.substr(text.find(' ', at + 1)));
  };
  bool has_computed = false;
  while (!has_computed && !deadline.expired()) {
    has_computed = engine_metric("vllm:generation_tokens_total") >= (kNumStreams + 1) * 60 &&
                   engine_metric("vllm:num_requests_running") == 0;
  }
  ASSERT_TRUE(has_computed);
  service->signal(SIGCONT);
  for (const auto& client : clients) {
    ASSERT_TRUE(client->read_until("data: [DONE]\n\n")) << client->received();
    EXPECT_EQ(content_of_events(client->received()), own_);
  }
  // The first tokens of the first stream; all that came behind them; what that left over.
  EXPECT_LE(num_requests(), 3);
}

TEST_F(TextServicesE2eTest, EveryKindOfAnswerSurvivesServicesThatComeAndGo) {
  const std::vector<std::string> kinds = {"", R"(,"logprobs":true,"top_logprobs":2)",
                                          R"(,"stop":["3","+"])", R"(,"n":2)",
                                          R"(,"stream_options":{"include_usage":true})"};
  /// What a client has at the end, besides ids and times.
  const auto ask = [&](const std::string& further) {
    RawClient client(endpoint_);
    client.send(http_post("/v1/chat/completions", kKey, chat(true, further)));
    EXPECT_TRUE(client.read_until("data: [DONE]\n\n")) << client.received();
    std::map<int, std::string> answer;
    const std::string& received = client.received();
    for (std::size_t at = received.find("data: {"); at != std::string::npos;
         at = received.find("data: {", at + 1)) {
      const json chunk = json::parse(received.substr(at + 6, received.find("\n\n", at) - at - 6));
      if (chunk.contains("error")) answer[-2] += chunk["error"].dump();
      if (chunk.contains("usage") && !chunk["usage"].is_null()) {
        json usage = chunk["usage"];
        usage.erase("prompt_tokens_details");  // what the prefix cache had
        answer[-1] = usage.dump();
      }
      for (const json& choice : chunk.value("choices", json::array())) {
        const int index = choice["index"];
        for (const char* field : {"reasoning_content", "content"}) {
          const json part = choice["delta"].value(field, json());
          if (part.is_string()) answer[2 * index] += part.get<std::string>();
        }
        const json logprobs = choice.value("logprobs", json());
        if (logprobs.is_object()) {
          for (const json& entry : logprobs.value("content", json::array()))
            answer[2 * index + 1] += entry.dump();
        }
        if (choice["finish_reason"].is_string())
          answer[2 * index] += "|" + choice["finish_reason"].get<std::string>();
      }
    }
    return answer;
  };
  std::vector<std::map<int, std::string>> expected;
  for (const std::string& kind : kinds) expected.push_back(ask(kind));

  std::atomic<bool> is_over{false};
  std::vector<std::thread> clients;
  std::vector<int> num_answers(kinds.size());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    clients.emplace_back([&, i] {
      while (!is_over) {
        EXPECT_EQ(ask(kinds[i]), expected[i]) << kinds[i];
        ++num_answers[i];
      }
    });
  }
  for (int round = 0; round < 4; ++round) {
    auto doomed = add(fmt::format("a{}", round), "postprocess");
    const auto other = add(fmt::format("b{}", round), "postprocess");
    EXPECT_TRUE(wait_for_updates(100));
    doomed.reset();
    std::filesystem::remove(services() / fmt::format("a{}.json", round));
    std::filesystem::remove(services() / fmt::format("b{}.json", round));
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  for (const int num : num_answers) EXPECT_GT(num, 0);
  EXPECT_GT(gateway_metric(kByService), 400);
}

TEST_F(TextServicesE2eTest, TheContextIsThatOfTheEngineWithTheLeastWhoeverPrepares) {
  const auto fits = [&] {
    RawClient client(endpoint_);
    client.send(http_post("/v1/chat/completions", kKey, chat(false, "", 100)));
    EXPECT_TRUE(client.read_until("}}")) << client.received();
    return client.received().find("context_length_exceeded") == std::string::npos;
  };
  EXPECT_THAT(get("/v1/models"), HasSubstr(R"("max_model_len":512)"));
  EXPECT_TRUE(fits());
  const auto smaller = start_engine({"--kv-tokens", "64"});
  announce("e1", "engine", endpoint_of(*smaller));
  ASSERT_TRUE(wait_until_shown("/v1/models", R"("max_model_len":64)"));
  EXPECT_FALSE(fits());
  const auto service = add("p0", "preprocess");
  EXPECT_FALSE(fits()) << "the service does not know the engine";
}

TEST_F(TextServicesE2eTest, TheGatewayPreparesWhenItsServiceIsKilled) {
  constexpr char kPrepared[] =
      R"(dslaunch_gateway_text_work_total{by="service",work="preprocess"})";
  constexpr char kPreparedHere[] =
      R"(dslaunch_gateway_text_work_total{by="gateway",work="preprocess"})";
  auto service = add("p0", "preprocess");
  EXPECT_EQ(whole_answer(chat()), own_);
  EXPECT_EQ(gateway_metric(kPrepared), 1);
  const double num_here = gateway_metric(kPreparedHere);
  service.reset();
  EXPECT_EQ(whole_answer(chat()), own_);
  EXPECT_EQ(whole_answer(chat()), own_);
  EXPECT_EQ(gateway_metric(kPreparedHere), num_here + 2);
  EXPECT_EQ(gateway_metric(R"(dslaunch_gateway_text_failures_total{work="preprocess"})"), 1)
      << "a service that failed is left alone";
  EXPECT_THAT(get("/status/data"), HasSubstr("a preprocess service"));
}

}  // namespace
}  // namespace dsl::serving
