// `dslaunch chat` and its HTTP client against a real gateway and the demo model: on a terminal,
// over TLS, over a Unix socket.
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "launcher/http_client/http_exchange.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "tests/e2e/cli_process.h"
#include "tests/e2e/terminal.h"
#include "tests/e2e/test_certificate.h"

namespace dsl::e2e {
namespace {

using launcher::Cancellation;
using nlohmann::json;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";
constexpr const char* kQuestion = "What is 47 + 85?\n";
constexpr const char* kCtrlC = "\x03";
constexpr const char* kCtrlD = "\x04";
constexpr std::string_view kDim = "\x1b[2m";
constexpr std::string_view kPlain = "\x1b[0m";

class ChatTest : public testing::Test {
 protected:
  void TearDown() override {
    if (HasFailure()) std::puts(home_.run({"logs", "demo"}).out.c_str());
    home_.run({"down", "--all"});
    EXPECT_TRUE(home_.is_quiet()) << "a process is left";
  }
  CliResult up(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"up", kModel, "--name", "demo", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return home_.run(arguments);
  }
  CliResult complete() {
    return home_.run({"complete", "demo", "--prompt", "47 + 85 =", "--max-tokens", "8"});
  }
  std::unique_ptr<Terminal> chat() {
    return std::make_unique<Terminal>(
        std::vector<std::string>{DSL_DSLAUNCH, "chat", "demo", "--temperature", "0"},
        home_.environment());
  }
  /// What the gateway answers to a GET of `path`.
  launcher::HttpAnswer get(const std::string& path) {
    const json env = json::parse(home_.run({"env", "demo", "--json"}).out);
    const auto gateway = launcher::parse_gateway_url(env["OPENAI_BASE_URL"].get<std::string>(),
                                                     env["OPENAI_API_KEY"].get<std::string>());
    Cancellation cancellation;
    const auto answer = launcher::fetch(gateway->request("GET", path, ""),
                                        Deadline::after(seconds(5)), cancellation, 1 << 20);
    return answer ? *answer : launcher::HttpAnswer{};
  }
  bool answers(int num_requests) {
    const std::string wanted =
        "\nvllm:num_requests_running{model_name=\"demo\"} " + std::to_string(num_requests) + "\n";
    return eventually(seconds(20),
                      [&] { return get("/metrics").body.find(wanted) != std::string::npos; });
  }

  CliHome home_;
};

TEST_F(ChatTest, ThinkingIsDimmedAndCtrlDEndsWell) {
  ASSERT_EQ(up().exit_code, 0);
  const auto terminal = chat();
  ASSERT_TRUE(terminal->shows("\n> ")) << terminal->screen();
  terminal->type(kQuestion);
  ASSERT_TRUE(terminal->shows(std::string(kDim) + "We add 47+85.")) << terminal->screen();
  ASSERT_TRUE(terminal->shows(std::string(kPlain) + "\r\n47 + 85 = 132\r\n> "))
      << terminal->screen();
  terminal->type(kCtrlD);
  EXPECT_EQ(terminal->wait(seconds(10)), 0) << terminal->screen();
  EXPECT_TRUE(terminal->is_as_before());
  const std::string& screen = terminal->screen();
  EXPECT_EQ(screen.rfind("\x1b["), screen.rfind(kPlain)) << "left dimmed: " << screen;
  EXPECT_THAT(screen, testing::EndsWith("\r\n")) << "the shell's prompt begins a line";
}

TEST_F(ChatTest, CtrlCStopsTheAnswerAlone) {
  // The engine stands still while it answers, and nobody may take it for lost.
  ASSERT_EQ(up({"--deadline-ms", "600000"}).exit_code, 0);
  const auto terminal = chat();
  ASSERT_TRUE(terminal->shows("\n> ")) << terminal->screen();
  const pid_t engine = home_.wait_for_process({"dsengine"});
  ASSERT_NE(engine, 0);
  ::kill(engine, SIGSTOP);
  terminal->type(kQuestion);
  ASSERT_TRUE(answers(1));
  terminal->type(kCtrlC);
  ASSERT_TRUE(terminal->shows("^C\r\n> ")) << terminal->screen();
  EXPECT_TRUE(answers(0)) << "the gateway was not told";
  ::kill(engine, SIGCONT);
  ASSERT_TRUE(eventually(seconds(20), [&] { return get("/ready").status == 200; }));

  terminal->type(kQuestion);
  EXPECT_TRUE(terminal->shows("47 + 85 = 132\r\n> ")) << terminal->screen();
  terminal->type(kCtrlC);
  EXPECT_TRUE(terminal->shows("(Ctrl-D ends)\r\n> ")) << terminal->screen();
  terminal->type("What is 12 + 30?\n");
  EXPECT_TRUE(terminal->shows("42\r\n> ")) << terminal->screen();
  terminal->type(kCtrlD);
  EXPECT_EQ(terminal->wait(seconds(10)), 0) << terminal->screen();
  EXPECT_TRUE(terminal->is_as_before());
}

TEST_F(ChatTest, SpeaksTlsAndRefusesAnUnknownCertificate) {
  const auto certificate = home_.path() / "server.pem";
  const auto key = home_.path() / "server.key";
  const auto other = home_.path() / "other.pem";
  write_certificate(certificate, key, "IP:127.0.0.1");
  write_certificate(other, home_.path() / "other.key", "IP:127.0.0.1");
  home_.set("SSL_CERT_FILE", certificate.string());
  const CliResult started =
      up({"--tls-certificate", certificate.string(), "--tls-key", key.string()});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(home_.run({"url", "demo"}).out, StartsWith("https://127.0.0.1:"));
  const CliResult answer = home_.run({"chat", "demo"}, seconds(30), kQuestion);
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("132"));

  home_.set("SSL_CERT_FILE", other.string());
  const CliResult refused = complete();
  EXPECT_EQ(refused.exit_code, 5) << refused.err;
  EXPECT_THAT(refused.err, StartsWith("DSL-203 Authentication: "));
  EXPECT_THAT(refused.err, HasSubstr("certificate is not trusted"));
  EXPECT_THAT(refused.err, HasSubstr("SSL_CERT_FILE"));

  // A certificate for another machine is no better, trusted or not. The gateway reads it again.
  write_certificate(certificate, key, "DNS:elsewhere.example");
  home_.set("SSL_CERT_FILE", certificate.string());
  CliResult mistaken;
  EXPECT_TRUE(eventually(seconds(20), [&] {
    mistaken = complete();
    return mistaken.err.find("mismatch") != std::string::npos;
  })) << mistaken.err;
  EXPECT_EQ(mistaken.exit_code, 5);
}

TEST_F(ChatTest, UpWithACertificateThatIsTrustedElsewhereOnlyWarns) {
  const auto certificate = home_.path() / "server.pem";
  const auto key = home_.path() / "server.key";
  write_certificate(certificate, key, "DNS:elsewhere.example");
  const CliResult started =
      up({"--tls-certificate", certificate.string(), "--tls-key", key.string()});
  EXPECT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(started.err, HasSubstr("certificate is not trusted"));
}

TEST_F(ChatTest, SpeaksOverAUnixSocket) {
  const std::filesystem::path socket = home_.path() / "gateway";
  ASSERT_EQ(up({"--gateway-listen", "unix:" + socket.string()}).exit_code, 0);
  EXPECT_EQ(home_.run({"url", "demo"}).out, "unix:" + socket.string() + "\n");
  EXPECT_EQ(std::filesystem::status(socket).permissions(), std::filesystem::perms(0600));
  const CliResult answer = home_.run({"chat", "demo"}, seconds(30), kQuestion);
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_THAT(answer.out, HasSubstr("132"));
  EXPECT_EQ(complete().exit_code, 0);
  EXPECT_EQ(home_.run({"down", "demo"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(socket));
}

TEST_F(ChatTest, SpeaksOverIPv6) {
  if (!std::filesystem::exists("/proc/net/if_inet6")) GTEST_SKIP() << "no IPv6 here";
  const CliResult started = up({"--gateway-listen", "[::1]:0"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_THAT(home_.run({"url", "demo"}).out, testing::StartsWith("http://[::1]:"));
  EXPECT_EQ(complete().exit_code, 0);
}

}  // namespace
}  // namespace dsl::e2e
