#include "engine/serving/http/http_server.h"

#include <gmock/gmock.h>

#include <thread>

#include "http_server_fixture.h"
#include "manual_stream.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

/// Echoes bodies; /stream answers with `stream`; a wrong secret is refused.
class EchoHandler final : public HttpHandler {
 public:
  std::shared_ptr<ManualStream> stream = std::make_shared<ManualStream>();

  std::optional<HttpResponse> refuse(const HttpHead& head) override {
    if (head.authorization == "Bearer s") return std::nullopt;
    return error_response({ErrorCode::kAuthentication, "no", "no"});
  }
  HttpResponse handle(const HttpRequest& request) override {
    if (request.head.target == "/stream") return {200, "application/x-ndjson", "", stream};
    return {200, "text/plain", request.head.method + " " + request.head.target + " " + request.body,
            nullptr};
  }
};

using HttpServerTest = HttpServerFixture<EchoHandler>;

TEST_F(HttpServerTest, AnswersSeveralRequestsOfOneConnection) {
  start();
  RawClient client = connect();
  client.send(http_post("/a?q=1", "s", "one"));
  ASSERT_TRUE(client.read_until("POST /a one"));
  client.take_received();
  client.send(http_get("/b", "s") + http_get("/c", "s"));  // pipelined
  EXPECT_TRUE(client.read_until("GET /c "));
  EXPECT_THAT(client.received(), HasSubstr("GET /b "));
}

TEST_F(HttpServerTest, RefusesBeforeTheBodyAndEndsTheConnection) {
  start();
  RawClient client = connect();
  client.send("POST / HTTP/1.1\r\nAuthorization: Bearer x\r\nContent-Length: 1000000\r\n\r\npart");
  EXPECT_TRUE(client.read_to_end());
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(client.received(), HasSubstr("\"code\":\"DSL-203\""));
}

TEST_F(HttpServerTest, AnswersToHeadHaveNoBody) {
  start();
  RawClient client = connect();
  client.send("HEAD /a HTTP/1.1\r\nAuthorization: Bearer s\r\n\r\n" + http_get("/b", "s"));
  ASSERT_TRUE(client.read_until("GET /b "));
  EXPECT_THAT(client.received(), HasSubstr("Content-Length: 8\r\n\r\nHTTP/1.1 200"));
  RawClient refused = connect();
  refused.send("HEAD /a HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(refused.read_to_end());
  EXPECT_THAT(refused.received(), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(refused.received(), testing::EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, MalformedAndOversizedRequestsGetTheRightStatus) {
  HttpServerOptions options;
  options.max_header_bytes = 1000;
  options.max_body_bytes = 1000;
  start(options);
  const std::pair<std::string, const char*> cases[] = {
      {"nonsense\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", "HTTP/1.1 431"},
      {"POST / HTTP/1.1\r\nAuthorization: Bearer s\r\nContent-Length: 2000\r\n\r\n",
       "HTTP/1.1 413"},
      {"POST / HTTP/1.1\r\nAuthorization: Bearer s\r\nContent-Length: 99999999999999999999\r\n\r\n",
       "HTTP/1.1 400"},
      {"POST / HTTP/1.1\r\nAuthorization: Bearer s\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n" +
           std::string(5000, 'x'),
       "HTTP/1.1 413"},
  };
  for (const auto& [request, status] : cases) {
    RawClient client = connect();
    client.send(request);
    EXPECT_TRUE(client.read_to_end()) << request.substr(0, 60);
    EXPECT_THAT(client.received(), StartsWith(status)) << request.substr(0, 60);
  }
}

TEST_F(HttpServerTest, ASilentConnectionIsClosed) {
  HttpServerOptions options;
  options.header_timeout = 100ms;
  start(options);
  RawClient client = connect();
  client.send("GET / HT");
  EXPECT_TRUE(client.read_to_end());
}

TEST_F(HttpServerTest, StreamsPiecesAsTheyCome) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->add("first\n");
  ASSERT_TRUE(client.read_until("first\n"));
  EXPECT_THAT(client.received(), HasSubstr("Transfer-Encoding: chunked"));
  handler_.stream->add("second\n");
  ASSERT_TRUE(client.read_until("second\n"));
  handler_.stream->finish();
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  client.take_received();
  client.send(http_get("/again", "s"));
  EXPECT_TRUE(client.read_until("GET /again "));
}

TEST_F(HttpServerTest, AStreamThatFailsAtOnceIsAnErrorStatus) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->fail({ErrorCode::kContextOverflow, "too long", "shorten"});
  ASSERT_TRUE(client.read_until("too long"));
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, AStreamMayTurnOutToBeAWholeAnswer) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->answer(
      {418, "text/plain", "a teapot", nullptr, {{"X-Request-Id", "7\r\nX: y"}}});
  ASSERT_TRUE(client.read_until("a teapot"));
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 418"));
  EXPECT_THAT(client.received(), HasSubstr("Content-Length: 8\r\n"));
  EXPECT_THAT(client.received(), HasSubstr("X-Request-Id: 7X: y\r\n"))
      << "no header is smuggled in";
  client.take_received();
  client.send(http_get("/again", "s"));
  EXPECT_TRUE(client.read_until("GET /again "));
}

TEST_F(HttpServerTest, AStreamThatFailsLaterIsCut) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->add("first\n");
  ASSERT_TRUE(client.read_until("first\n"));
  handler_.stream->fail({ErrorCode::kPeerLost, "gone", ""});
  EXPECT_TRUE(client.read_to_end());
  EXPECT_THAT(client.received(), testing::Not(HasSubstr("0\r\n\r\n")));
}

TEST_F(HttpServerTest, AClientThatGoesAwayIsNoticedWhileNothingIsSent) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->add("first\n");
  ASSERT_TRUE(client.read_until("first\n"));
  client.close();
  EXPECT_TRUE(handler_.stream->wait_abandoned());
}

TEST_F(HttpServerTest, AClientThatDoesNotReadIsDropped) {
  HttpServerOptions options;
  options.write_timeout = 200ms;
  start(options);
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->add(std::string(24 << 20, 'x'));
  EXPECT_TRUE(handler_.stream->wait_abandoned());
}

TEST_F(HttpServerTest, StopLetsAnswersEndAndClosesTheRest) {
  start();
  RawClient idle = connect();
  idle.send(http_get("/", "s"));
  ASSERT_TRUE(idle.read_until("GET / "));
  RawClient busy = connect();
  busy.send(http_get("/stream", "s"));
  handler_.stream->add("first\n");
  ASSERT_TRUE(busy.read_until("first\n"));
  std::thread stopper([&] { server_->stop(Deadline::after(20s)); });
  EXPECT_TRUE(idle.read_to_end());
  handler_.stream->add("last\n");
  handler_.stream->finish();
  EXPECT_TRUE(busy.read_to_end());
  EXPECT_THAT(busy.received(), HasSubstr("last\n\r\n0\r\n\r\n"));
  stopper.join();
  EXPECT_FALSE(connect().is_connected());
}

TEST_F(HttpServerTest, StopCutsAnswersAtItsDeadline) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", "s"));
  handler_.stream->add("first\n");
  ASSERT_TRUE(client.read_until("first\n"));
  const auto start_time = std::chrono::steady_clock::now();
  server_->stop(Deadline::after(100ms));
  EXPECT_LT(std::chrono::steady_clock::now() - start_time, 5s);
  EXPECT_TRUE(client.read_to_end());
}

TEST_F(HttpServerTest, ATakenPortIsNamed) {
  start();
  HttpServerOptions options;
  options.listen = server_->endpoint();
  const auto second = HttpServer::start(options, handler_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kAddressInUse);
  EXPECT_THAT(second.error().message, HasSubstr(options.listen));
}

TEST_F(HttpServerTest, AddressesThatAreNoneAreRefused) {
  for (const char* listen :
       {"", "127.0.0.1", "127.0.0.1:", ":1", "127.0.0.1:x", "127.0.0.1:70000", "192.0.2.1:0"}) {
    HttpServerOptions options;
    options.listen = listen;
    const auto started = HttpServer::start(options, handler_);
    ASSERT_FALSE(started.has_value()) << listen;
    EXPECT_EQ(started.error().code, ErrorCode::kInvalidArgument) << listen;
  }
}

TEST_F(HttpServerTest, ManyConnectionsAtOnceAreServed) {
  start();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->endpoint()));
    clients.back()->send(http_post("/" + std::to_string(i), "s", "x"));
  }
  for (int i = 0; i < 200; ++i)
    EXPECT_TRUE(clients[static_cast<std::size_t>(i)]->read_until(fmt::format("POST /{} x", i)));
}

}  // namespace
}  // namespace dsl::serving
