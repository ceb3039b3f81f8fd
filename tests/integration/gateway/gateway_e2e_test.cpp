// dsgateway in front of real engines of the demonstration model: answers, engines that die,
// strangers, the end of a gateway.
#include <gmock/gmock.h>

#include <atomic>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "engine/serving/http/listen_socket.h"
#include "gateway_fixture.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using namespace std::chrono_literals;

using GatewayE2eTest = GatewayFixture;

TEST_F(GatewayE2eTest, StreamedAndWholeAnswersAreEqual) {
  const auto engine = start_engine();
  announce("e0", "engine", endpoint_of(*engine));
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  const std::string whole = whole_answer(chat());
  EXPECT_FALSE(whole.empty());
  RawClient client(endpoint_);
  begin_stream(client, chat(true));
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n"));
  EXPECT_EQ(content_of_events(client.received()), whole);
  EXPECT_THAT(client.received(), HasSubstr("Content-Type: text/event-stream"));
  EXPECT_THAT(get("/v1/models"), HasSubstr("\"id\":\"demo\""));
  EXPECT_THAT(get("/metrics"), HasSubstr("vllm:request_success_total{"));
}

TEST_F(GatewayE2eTest, AKeyReadsItsOwnUseOnly) {
  write_keys({json{{"name", "default"}}, json{{"name", "team-1"}}, json{{"name", "team-2"}}});
  start_gateway();
  const auto keys_told = [&](const char* key) {
    const std::string text = get("/metrics", key);
    EXPECT_THAT(text, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(text, HasSubstr("vllm:num_requests_running"));
    std::set<std::string> names;
    constexpr std::string_view kSeries = "_requests_total{key=\"";
    for (std::size_t at = 0; (at = text.find(kSeries, at)) != std::string::npos;) {
      at += kSeries.size();
      names.insert(text.substr(at, text.find('"', at) - at));
    }
    return names;
  };
  EXPECT_THAT(keys_told("sk-key-1"), ElementsAre("team-1"));
  EXPECT_THAT(keys_told("sk-key-2"), ElementsAre("team-2"));
  EXPECT_THAT(keys_told(kKey), ElementsAre("default", "team-1", "team-2"));
  EXPECT_THAT(keys_told(kSecret), ElementsAre("default", "team-1", "team-2"));
  EXPECT_THAT(get("/status/data", "sk-key-1"), Not(HasSubstr("team-2")));
}

TEST_F(GatewayE2eTest, ProbesMayAskForTheHeadOnly) {
  const auto engine = start_engine();
  start_gateway();
  const auto head = [&](const std::string& target) {
    RawClient client(endpoint_);
    client.send(fmt::format("HEAD {} HTTP/1.1\r\nConnection: close\r\n\r\n", target));
    EXPECT_TRUE(client.read_to_end());
    EXPECT_THAT(client.received(), testing::EndsWith("\r\n\r\n")) << "there is no body";
    return client.received();
  };
  EXPECT_THAT(head("/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(head("/health"), HasSubstr("Content-Length: 16\r\n"));
  EXPECT_THAT(head("/ready"), StartsWith("HTTP/1.1 503"));
  announce("e0", "engine", endpoint_of(*engine));
  ASSERT_TRUE(wait_ready(1));
  EXPECT_THAT(head("/ready"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(head("/v1/chat/completions"), StartsWith("HTTP/1.1 405"));
}

TEST_F(GatewayE2eTest, PromtoolFindsNoFaultInTheMetrics) {
  if (std::system("promtool --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no promtool here";
  const auto engine = start_engine();
  announce("e0", "engine", endpoint_of(*engine));
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  whole_answer(chat());
  const std::string answer = get("/metrics");
  const auto file = directory_.write("metrics", answer.substr(answer.find("\r\n\r\n") + 4));
  // The colon is vLLM's.
  Child promtool(
      {"/bin/sh", "-c",
       "promtool check metrics < " + file.string() + " 2>&1 | grep -v \"should not contain ':'\""},
      std::nullopt);
  EXPECT_EQ(promtool.wait(Deadline::after(20s)), 1) << "grep found further complaints";
  EXPECT_EQ(promtool.text(), "");
}

TEST_F(GatewayE2eTest, AnAnswerGoesOnAtAnotherEngineWhenItsOwnIsKilled) {
  auto first = start_engine();
  announce("e0", "engine", endpoint_of(*first));
  const auto second = start_engine();
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  const std::string whole = whole_answer(long_chat(false));
  RawClient client(endpoint_);
  begin_stream(client, long_chat(true));
  first->signal(SIGSTOP);  // holds the answer in its middle
  const std::string before = client.received();
  announce("e1", "engine", endpoint_of(*second));
  ASSERT_TRUE(wait_ready(2));
  first.reset();  // kill -9
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n")) << client.received();
  EXPECT_EQ(content_of_events(client.received()), whole);
  EXPECT_LT(content_of_events(before).size(), whole.size()) << "the kill came in time";
  EXPECT_THAT(get("/metrics"), HasSubstr("dslaunch_gateway_continuations_total 1"));
}

TEST_F(GatewayE2eTest, AStrangerAtAnEnginesPortGetsNoSecretAndNoTraffic) {
  auto stranger = ListenSocket::open("127.0.0.1:0");
  ASSERT_TRUE(stranger.has_value());
  std::atomic<bool> is_over{false};
  std::string heard;
  std::thread listener([&] {
    while (!is_over) {
      pollfd entry{stranger->fd(), POLLIN, 0};
      if (::poll(&entry, 1, 50) <= 0) continue;
      const UniqueFd client(::accept4(stranger->fd(), nullptr, nullptr, SOCK_CLOEXEC));
      char buffer[4096];
      const ssize_t count = ::recv(client.get(), buffer, sizeof buffer, 0);
      if (count > 0) heard.append(buffer, static_cast<std::size_t>(count));
      const std::string answer =
          "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"proof\":\"00ff\"}";
      (void)::send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  });
  announce("e0", "engine", stranger->endpoint());
  announce("forged", "engine", "127.0.0.1:9", 0644);
  start_gateway();
  EXPECT_TRUE(gateway_->read_until("is refused")) << gateway_->text();
  EXPECT_THAT(get("/ready"), HasSubstr("\"engines\":1,\"ready\":0"))
      << "the forged one is left out";
  EXPECT_THAT(get("/ready"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(get("/metrics", kSecret), Not(HasSubstr("refused_services_total 0")));
  is_over = true;
  listener.join();
  EXPECT_THAT(heard, StartsWith("GET /v1/identity?nonce="));
  EXPECT_THAT(heard, Not(HasSubstr(kSecret)));
  EXPECT_THAT(heard, Not(HasSubstr("Authorization")));
}

TEST_F(GatewayE2eTest, WrongRequestsGetErrorsInOpenAisShape) {
  const auto engine = start_engine();
  announce("e0", "engine", endpoint_of(*engine));
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  const auto post = [&](const std::string& target, const char* key, const std::string& body) {
    RawClient client(endpoint_);
    client.send(http_post(target, key, body));
    EXPECT_TRUE(client.read_until("\"error\"")) << client.received();
    return client.received();
  };
  const std::string body = chat();
  EXPECT_THAT(post("/v1/chat/completions", "wrong", body), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(post("/v1/chat/completions", "wrong", body), HasSubstr("invalid_api_key"));
  EXPECT_THAT(post("/v1/chat/completions", kKey, "{"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(post("/v1/chat/completions", kKey, R"({"model":"other","messages":[]})"),
              StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(post("/nowhere", kKey, "{}"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(get("/v1/chat/completions"), StartsWith("HTTP/1.1 405"));
  RawClient large(endpoint_);
  large.send(
      fmt::format("POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {}\r\n"
                  "Content-Length: 104857600\r\n\r\n",
                  kKey));
  EXPECT_TRUE(large.read_to_end());
  EXPECT_THAT(large.received(), StartsWith("HTTP/1.1 413"));

  // Limits and revocation take effect while the gateway runs.
  write_keys({json{{"name", "default"}, {"requests_per_minute", 0.001}}});
  ASSERT_TRUE(gateway_->read_until("1 API keys are in force"));
  std::string refused;
  for (int i = 0; i < 2; ++i) {
    RawClient client(endpoint_);
    client.send(http_post("/v1/chat/completions", kKey, body));
    ASSERT_TRUE(client.read_until("}\n"));
    refused = client.received();
  }
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  write_file(directory_.path() / "keys", R"({"keys":[]})", 0600);
  ASSERT_TRUE(gateway_->read_until("0 API keys are in force"));
  EXPECT_THAT(post("/v1/chat/completions", kKey, body), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(gateway_->text(), Not(HasSubstr(kKey)));
  EXPECT_THAT(gateway_->text(), Not(HasSubstr(kSecret)));
}

TEST_F(GatewayE2eTest, AGatewayThatEndsFinishesItsAnswers) {
  const auto engine = start_engine();
  announce("e0", "engine", endpoint_of(*engine));
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  const std::string whole = whole_answer(long_chat(false));
  RawClient client(endpoint_);
  begin_stream(client, long_chat(true));
  engine->signal(SIGSTOP);
  gateway_->signal(SIGTERM);
  ASSERT_TRUE(gateway_->read_until("ending"));
  const Deadline deadline = Deadline::after(10s);
  while (get("/ready").find("draining") == std::string::npos && !deadline.expired()) {
  }
  RawClient late(endpoint_);
  late.send(http_post("/v1/chat/completions", kKey, chat()));
  EXPECT_TRUE(late.read_until("\"error\""));
  EXPECT_THAT(late.received(), StartsWith("HTTP/1.1 503"));
  engine->signal(SIGCONT);
  ASSERT_TRUE(client.read_until("data: [DONE]\n\n"));
  EXPECT_EQ(content_of_events(client.received()), whole);
  EXPECT_EQ(gateway_->wait(Deadline::after(20s)), 0) << gateway_->text();
}

TEST_F(GatewayE2eTest, AClientThatLeavesCancelsItsGeneration) {
  const auto engine = start_engine();
  announce("e0", "engine", endpoint_of(*engine));
  start_gateway();
  ASSERT_TRUE(wait_ready(1));
  {
    RawClient client(endpoint_);
    begin_stream(client, long_chat(true));
    engine->signal(SIGSTOP);
  }
  const Deadline deadline = Deadline::after(10s);
  bool is_cancelled = false;
  while (!is_cancelled && !deadline.expired()) {
    is_cancelled = get("/metrics").find("dslaunch_gateway_cancelled_total 1") != std::string::npos;
  }
  EXPECT_TRUE(is_cancelled);
  engine->signal(SIGCONT);
}

}  // namespace
}  // namespace dsl::serving
