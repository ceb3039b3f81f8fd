// The client against real servers, right and wrong.
#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/discovery/identity_check_async.h"
#include "engine/serving/http/http_client_async.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/http/listen_socket.h"
#include "manual_stream.h"
#include "raw_client.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;
namespace asio = boost::asio;

/// A service with a secret; counts the connections' identity questions.
class ServiceHandler final : public HttpHandler {
 public:
  explicit ServiceHandler(std::string secret) : secret_(std::move(secret)) {}

  std::shared_ptr<ManualStream> stream = std::make_shared<ManualStream>();
  std::atomic<int> num_questions{0};
  std::atomic<int> num_refused{0};

  std::optional<HttpResponse> refuse(const HttpHead& head) override {
    if (head.target == kIdentityTarget || carries_secret(head, secret_)) return std::nullopt;
    ++num_refused;
    return error_response({ErrorCode::kAuthentication, "no", "no"});
  }
  HttpResponse handle(const HttpRequest& request) override {
    if (request.head.target == kIdentityTarget) {
      ++num_questions;
      return identity_response(request.head, secret_);
    }
    if (request.head.target == "/stream") return {200, "application/x-ndjson", "", stream};
    return {200, "text/plain", request.head.target + " " + request.body, nullptr};
  }

 private:
  const std::string secret_;
};

class HttpClientTest : public testing::Test {
 protected:
  HttpClientTest() {
    auto started = HttpServer::start({}, service_);
    EXPECT_TRUE(started.has_value());
    server_ = *std::move(started);
    loop_.run([this] { client_ = std::make_unique<HttpClient>(loop_, "s", identity_check("s")); });
  }
  ~HttpClientTest() override {
    loop_.run([this] { client_.reset(); });
  }

  template <typename Work>
  auto run(Work work) {
    return asio::co_spawn(loop_.context(), std::move(work), asio::use_future).get();
  }
  Result<ClientAnswer> exchange(std::string endpoint, ClientRequest request,
                                std::chrono::milliseconds timeout = 20s) {
    return run([&]() -> asio::awaitable<Result<ClientAnswer>> {
      co_return co_await client_->exchange(endpoint, request, timeout);
    });
  }

  ServiceHandler service_{"s"};
  std::unique_ptr<HttpServer> server_;
  EventLoop loop_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(HttpClientTest, OneConnectionCarriesSeveralRequests) {
  for (int i = 0; i < 3; ++i) {
    const auto answer = exchange(server_->endpoint(), {"POST", "/a", std::to_string(i)});
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, fmt::format("/a {}", i));
  }
  EXPECT_EQ(service_.num_questions, 1) << "asked once a connection";
  EXPECT_EQ(client_->num_idle_connections(server_->endpoint()), 1u);
}

TEST_F(HttpClientTest, ARestartedServiceIsReachedAgain) {
  const std::string endpoint = server_->endpoint();
  ASSERT_TRUE(exchange(endpoint, {"POST", "/a", "1"}).has_value());
  server_.reset();
  const auto refused = exchange(endpoint, {"POST", "/a", "2"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnreachable);
  HttpServerOptions options;
  options.listen = endpoint;
  auto again = HttpServer::start(options, service_);
  ASSERT_TRUE(again.has_value()) << again.error().message;
  server_ = *std::move(again);
  const auto answer = exchange(endpoint, {"POST", "/a", "3"});
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(answer->body, "/a 3");
}

TEST_F(HttpClientTest, AServiceOfSomebodyElseGetsNoSecret) {
  ServiceHandler stranger("another");
  auto server = HttpServer::start({}, stranger);
  ASSERT_TRUE(server.has_value());
  const auto answer = exchange((*server)->endpoint(), {"POST", "/a", "private"});
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ErrorCode::kAuthentication);
  EXPECT_EQ(stranger.num_questions, 1);
  EXPECT_EQ(stranger.num_refused, 0) << "nothing but the question was sent";
}

TEST_F(HttpClientTest, AProofIsWorthNothingAtAnotherEndpoint) {
  auto check = identity_check("s");
  const auto question = check->question();
  ASSERT_TRUE(question.has_value());
  HttpHead head;
  head.query = question->substr(question->find('?') + 1);
  head.server_endpoint = "127.0.0.1:1";
  const std::string answer = identity_response(head, "s").body;
  EXPECT_TRUE(check->accepts("127.0.0.1:1", *question, answer));
  EXPECT_FALSE(check->accepts("127.0.0.1:2", *question, answer));
  EXPECT_FALSE(check->accepts("127.0.0.1:1", *check->question(), answer)) << "a replay";
}

TEST_F(HttpClientTest, ASilentServerIsGivenUpInTime) {
  const auto silent = ListenSocket::open("127.0.0.1:0");
  ASSERT_TRUE(silent.has_value());
  const auto start = std::chrono::steady_clock::now();
  const auto answer = exchange(silent->endpoint(), {}, 300ms);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
}

TEST_F(HttpClientTest, LinesComeWholeHoweverTheyAreSent) {
  service_.stream->add("one\ntw");
  std::string received = run([&]() -> asio::awaitable<std::string> {
    ClientCall call(*client_, server_->endpoint());
    ClientRequest request{"GET", "/stream", ""};
    const auto status = co_await call.send(request);
    EXPECT_TRUE(status.has_value());
    std::string all;
    const auto has_ended = co_await call.read_lines([&](std::string_view lines) {
      EXPECT_EQ(lines.back(), '\n');
      all.append(lines) += '|';
      if (lines == "one\n") {
        service_.stream->add("o\nthree\n");
        service_.stream->finish();
      }
      return true;
    });
    EXPECT_TRUE(has_ended && *has_ended);
    co_return all;
  });
  EXPECT_THAT(received, testing::StartsWith("one\n|two\n"));
  EXPECT_THAT(received, HasSubstr("three\n"));
}

TEST_F(HttpClientTest, ACancelledStreamIsAbandonedByTheServer) {
  service_.stream->add("one\n");
  const auto code = run([&]() -> asio::awaitable<ErrorCode> {
    ClientCall call(*client_, server_->endpoint());
    ClientRequest request{"GET", "/stream", ""};
    (void)co_await call.send(request);
    const auto first = co_await call.read_lines([](std::string_view) { return false; });
    EXPECT_TRUE(first && !*first);
    loop_.post([&] { call.cancel(); });
    const auto more = co_await call.read_lines([](std::string_view) { return true; });
    co_return more ? ErrorCode::kInternal : more.error().code;
  });
  EXPECT_EQ(code, ErrorCode::kCancelled);
  EXPECT_TRUE(service_.stream->wait_abandoned());
}

}  // namespace
}  // namespace dsl::serving
