#include "gateway_fixture.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "transport/base/crypto.h"

namespace dsl::serving {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

std::string model_dir() { return std::string(DSL_TEST_DATA_DIR) + "/demo_model/arith-bf16"; }

}  // namespace

std::string endpoint_of(Child& child) {
  constexpr std::string_view kField = R"({"event":"ready","endpoint":")";
  EXPECT_TRUE(child.read_until(kField)) << child.text();
  const std::size_t at = child.text().find(kField) + kField.size();
  EXPECT_TRUE(child.read_until("\"}")) << child.text();
  return child.text().substr(at, child.text().find('"', at) - at);
}

std::string content_of_events(const std::string& received) {
  std::string content;
  for (std::size_t at = received.find("data: {"); at != std::string::npos;
       at = received.find("data: {", at + 1)) {
    const json chunk = json::parse(received.substr(at + 6, received.find("\n\n", at) - at - 6));
    if (!chunk.contains("choices")) continue;
    for (const json& choice : chunk["choices"]) {
      const json& delta = choice["delta"];
      if (delta.contains("content") && delta["content"].is_string())
        content += delta["content"].get<std::string>();
    }
  }
  return content;
}

std::string chat(bool is_streamed, const std::string& further, int num_tokens) {
  return fmt::format(
      R"({{"model":"demo","messages":[{{"role":"user","content":"What is 57 + 75?"}}],)"
      R"("seed":7,"max_tokens":{},"ignore_eos":true{}{}}})",
      num_tokens, is_streamed ? ",\"stream\":true" : "", further);
}

std::string long_chat(bool is_streamed) { return chat(is_streamed, "", 400); }

double metric(const std::string& text, const std::string& name) {
  const std::size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

void GatewayFixture::SetUp() {
  write_keys({json{{"name", "default"}}});
  std::filesystem::create_directory(services());
  ::chmod(services().c_str(), 0700);
}

void GatewayFixture::write_keys(std::vector<json> keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string text = i == 0 ? kKey : fmt::format("{}-{}", kKey, i);
    keys[i]["sha256"] = to_hex(*sha256(std::as_bytes(std::span(text))));
  }
  write_file(directory_.path() / "keys", json{{"keys", keys}}.dump(), 0600);
}

void GatewayFixture::write_file(const std::filesystem::path& path, const std::string& content,
                                mode_t mode) {
  const auto fresh = directory_.write("fresh", content);
  ::chmod(fresh.c_str(), mode);
  std::filesystem::rename(fresh, path);
}

void GatewayFixture::announce(const std::string& id, const std::string& role,
                              const std::string& endpoint, mode_t mode) {
  write_file(services() / (id + ".json"),
             json{{"id", id}, {"role", role}, {"endpoint", endpoint}, {"state", "ready"}}.dump(),
             mode);
}

std::unique_ptr<Child> GatewayFixture::start_engine(const std::vector<std::string>& more) {
  std::vector<std::string> argv = {DSL_ENGINE_BINARY, "--model", model_dir(), "--threads", "1"};
  argv.insert(argv.end(), more.begin(), more.end());
  return std::make_unique<Child>(argv, kSecret);
}

std::unique_ptr<Child> GatewayFixture::start_text(const std::string& role) {
  return std::make_unique<Child>(
      std::vector<std::string>{DSL_TEXT_BINARY, "--role", role, "--model", model_dir(),
                               "--served-model-name", "demo"},
      kSecret);
}

void GatewayFixture::start_gateway() {
  gateway_ = std::make_unique<Child>(
      std::vector<std::string>{DSL_GATEWAY_BINARY, "--model", model_dir(), "--served-model-name",
                               "demo", "--services", services().string(), "--keys",
                               (directory_.path() / "keys").string()},
      kSecret);
  endpoint_ = endpoint_of(*gateway_);
}

std::string GatewayFixture::get_from(const std::string& endpoint, const std::string& target,
                                     const char* key) {
  RawClient client(endpoint);
  client.send(
      fmt::format("GET {} HTTP/1.1\r\nConnection: close\r\n"
                  "Authorization: Bearer {}\r\n\r\n",
                  target, key));
  EXPECT_TRUE(client.read_to_end());
  return client.received();
}

bool GatewayFixture::wait_until_shown(const std::string& target, const std::string& text) {
  const Deadline deadline = Deadline::after(20s);
  while (!deadline.expired()) {
    if (get(target).find(text) != std::string::npos) return true;
  }
  return false;
}

bool GatewayFixture::wait_ready(int num_engines) {
  return wait_until_shown("/ready", fmt::format("\"ready\":{}", num_engines));
}

bool GatewayFixture::wait_known(const std::string& id) {
  return wait_until_shown("/status/data", fmt::format("\"{}\"", id));
}

std::string GatewayFixture::whole_answer(const std::string& body) {
  RawClient client(endpoint_);
  client.send(http_post("/v1/chat/completions", kKey, body));
  EXPECT_TRUE(client.read_until("\"usage\"")) << client.received();
  const std::string& received = client.received();
  return json::parse(
      received.substr(received.find("\r\n\r\n") + 4))["choices"][0]["message"]["content"];
}

void GatewayFixture::begin_stream(RawClient& client, const std::string& body) {
  client.send(http_post("/v1/chat/completions", kKey, body));
  ASSERT_TRUE(client.read_until("\"content\":")) << client.received();
}

}  // namespace dsl::serving
