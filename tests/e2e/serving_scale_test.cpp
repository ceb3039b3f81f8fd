// A real deployment scaled and drained while clients use it: nothing that they ask may fail.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/cli_process.h"

namespace dsl::e2e {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr const char* kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";

TEST(ServingScale, LosesNoRequestWhileServicesComeAndGo) {
  CliHome home;
  const CliResult started =
      home.run({"up", kModel, "--name", "demo", "--threads", "1", "--replicas", "2", "--gateways",
                "1", "--preprocess", "1", "--postprocess", "1"},
               seconds(120));
  ASSERT_EQ(started.exit_code, 0) << started.err;
  CliProcess load = home.start({"bench", "serve", "demo", "--concurrency", "8", "--num-requests",
                                "1000", "--max-tokens", "16", "--prompt-words", "8", "--json"});
  const std::vector<std::vector<std::string>> changes = {
      {"scale", "demo", "--preprocess", "3"},  {"scale", "demo", "--postprocess", "2"},
      {"scale", "demo", "--gateways", "2"},    {"scale", "demo", "--preprocess", "1"},
      {"scale", "demo", "--postprocess", "0"}, {"down", "demo", "--replica", "1"},
      {"scale", "demo", "--gateways", "1"}};
  for (const auto& change : changes) {
    const CliResult changed = home.run(change);
    EXPECT_EQ(changed.exit_code, 0) << changed.err;
  }
  const CliResult result = load.wait(seconds(180));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json figures = json::parse(result.out);
  EXPECT_EQ(figures.at("num_ok"), 1000) << result.out;
  EXPECT_EQ(figures.at("num_failed"), 0) << result.out;
  const CliResult ended = home.run({"down", "demo"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_TRUE(home.is_quiet()) << "a process is left";
}

}  // namespace
}  // namespace dsl::e2e
