// Clients that are slow, silent, gone, greedy or many.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "../checkpoint/checkpoint_files.h"
#include "http_server_fixture.h"
#include "manual_stream.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

/// Says how long the body was; /stream is `stream`; bodies for /small have at most 10 bytes.
class MeasuringHandler final : public HttpHandler {
 public:
  std::shared_ptr<ManualStream> stream = std::make_shared<ManualStream>();

  std::optional<HttpResponse> refuse(const HttpHead&) override { return std::nullopt; }
  HttpResponse handle(const HttpRequest& request) override {
    if (request.head.target == "/stream") return {200, "text/plain", "", stream};
    return {200, "text/plain", fmt::format("{} bytes", request.body.size()), nullptr};
  }
  std::optional<std::size_t> body_limit(const HttpHead& head) override {
    if (head.target == "/small") return 10;
    return std::nullopt;
  }
};

class HttpLimitsTest : public HttpServerFixture<MeasuringHandler> {
 protected:
  void expect_service() {
    RawClient client = connect();
    client.send(http_post("/", "", "four"));
    EXPECT_TRUE(client.read_until("4 bytes"));
  }
};

TEST_F(HttpLimitsTest, HeadersThatDripInAreCutOff) {
  HttpServerOptions options;
  options.header_timeout = 300ms;
  start(options);
  RawClient client = connect();
  client.send("GET / HTTP/1.1\r\n");
  // A byte at a time does not extend the time.
  bool is_cut = false;
  for (int i = 0; i < 200 && !is_cut; ++i) {
    client.send("X");
    pollfd entry{client.fd(), POLLIN, 0};
    is_cut = ::poll(&entry, 1, 50) > 0;
  }
  EXPECT_TRUE(is_cut);
  EXPECT_TRUE(client.read_to_end());
  expect_service();
}

TEST_F(HttpLimitsTest, ABodyThatDoesNotComeIsCutOff) {
  HttpServerOptions options;
  options.body_timeout = 200ms;
  start(options);
  RawClient client = connect();
  client.send("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\npart");
  EXPECT_TRUE(client.read_to_end());
}

TEST_F(HttpLimitsTest, AnIdleConnectionIsClosed) {
  HttpServerOptions options;
  options.idle_timeout = 200ms;
  start(options);
  RawClient client = connect();
  client.send(http_post("/", "", "four"));
  EXPECT_TRUE(client.read_until("4 bytes"));
  EXPECT_TRUE(client.read_to_end());
}

TEST_F(HttpLimitsTest, AHugeBodyIsRefusedBeforeItComes) {
  start();
  RawClient client = connect();
  client.send("POST / HTTP/1.1\r\nContent-Length: 104857600\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(client.read_to_end());
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 413"));
  expect_service();
}

TEST_F(HttpLimitsTest, AHugeBodyWithoutLengthIsRefusedAtTheLimit) {
  HttpServerOptions options;
  options.max_body_bytes = 100'000;
  start(options);
  RawClient client = connect();
  client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", 60'000, std::string(60'000, 'x'));
  client.send(chunk);
  client.send(chunk);
  EXPECT_TRUE(client.read_to_end());
  EXPECT_THAT(client.received(), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpLimitsTest, PathsHaveLimitsOfTheirOwn) {
  start();
  RawClient allowed = connect();
  allowed.send(http_post("/small", "", "0123456789"));
  EXPECT_TRUE(allowed.read_until("10 bytes"));
  RawClient refused = connect();
  refused.send(http_post("/small", "", "0123456789a"));
  EXPECT_TRUE(refused.read_to_end());
  EXPECT_THAT(refused.received(), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpLimitsTest, ConnectionsAboveTheLimitAreClosed) {
  HttpServerOptions options;
  options.max_connections = 1;
  start(options);
  RawClient first = connect();
  first.send(http_post("/", "", "four"));
  ASSERT_TRUE(first.read_until("4 bytes"));
  RawClient second = connect();
  second.send(http_post("/", "", "four"));
  EXPECT_TRUE(second.read_to_end());
  EXPECT_EQ(second.received(), "");
  first.take_received();
  first.send(http_post("/", "", "five5"));
  EXPECT_TRUE(first.read_until("5 bytes"));
}

TEST_F(HttpLimitsTest, AClientThatLeavesUnreadBytesBehindIsNoticed) {
  start();
  RawClient client = connect();
  client.send(http_get("/stream", ""));
  handler_.stream->add("first\n");
  ASSERT_TRUE(client.read_until("first\n"));
  client.send(http_get("/next", ""));
  client.close();
  EXPECT_TRUE(handler_.stream->wait_abandoned());
}

TEST_F(HttpLimitsTest, AUnixSocketIsItsOwnersAlone) {
  const checkpoint::TemporaryDirectory directory;
  const std::string path = (directory.path() / "socket").string();
  HttpServerOptions options;
  options.listen = "unix:" + path;
  start(options);
  EXPECT_EQ(server_->endpoint(), options.listen);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  expect_service();

  const auto second = HttpServer::start(options, handler_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kAddressInUse);
  expect_service();

  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HttpLimitsTest, TheSocketOfADeadServerIsTakenOver) {
  const checkpoint::TemporaryDirectory directory;
  const std::string path = (directory.path() / "socket").string();
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  HttpServerOptions options;
  options.listen = "unix:" + path;
  start(options);
  expect_service();
}

}  // namespace
}  // namespace dsl::serving
