// dstext as a program: how it starts, says where it is, and ends.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/unit/serving/child.h"
#include "tests/unit/serving/raw_client.h"

namespace dsl::serving {
namespace {

using testing::HasSubstr;

const std::string kModel = std::string(DSL_TEST_DATA_DIR) + "/demo_model/arith-bf16";

std::vector<std::string> argv(const std::string& role, const std::string& model = kModel) {
  return {DSL_TEXT_BINARY, "--role", role, "--model", model, "--served-model-name", "demo"};
}

TEST(Dstext, ServesUntilItIsAskedToEnd) {
  for (const char* role : {"preprocess", "postprocess"}) {
    Child child(argv(role), "s");
    ASSERT_TRUE(child.read_until("}\n")) << child.text();
    const auto ready = nlohmann::json::parse(child.text().substr(0, child.text().find('\n')));
    EXPECT_EQ(ready["event"], "ready");
    RawClient client(ready["endpoint"].get<std::string>());
    client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(client.read_until("{\"status\":\"ok\"}")) << client.received();
    client.close();
    child.signal(SIGTERM);
    EXPECT_EQ(child.wait(Deadline::after(std::chrono::seconds(30))), 0) << child.text();
  }
}

TEST(Dstext, SaysWhyItCannotStart) {
  const auto run = [](const std::vector<std::string>& arguments,
                      const std::optional<std::string>& secret) {
    Child child(arguments, secret);
    const auto code = child.wait(Deadline::after(std::chrono::seconds(30)));
    return std::pair{code.value_or(-1), child.text()};
  };
  const auto [no_secret, secret_text] = run(argv("preprocess"), std::nullopt);
  EXPECT_EQ(no_secret, 2);
  EXPECT_THAT(secret_text, HasSubstr("DSLAUNCH_SECRET"));
  const auto [no_model, model_text] = run(argv("preprocess", "/nonexistent"), "s");
  EXPECT_EQ(no_model, 3);
  EXPECT_THAT(model_text, HasSubstr("DSL-102"));
  EXPECT_EQ(run(argv("poet"), "s").first, 2);
}

}  // namespace
}  // namespace dsl::serving
