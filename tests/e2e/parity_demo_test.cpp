// The demo model says the same, whatever the split, the company and the interruptions.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/e2e/demo_model.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

constexpr std::int64_t kMaxTokens = 96;

std::filesystem::path model_dir() { return demo_dir() / "arith-bf16"; }

/// The questions of prompts.txt in the model's chat format.
std::vector<std::vector<std::int32_t>> load_prompts() {
  const DemoModel model(model_dir());
  std::vector<std::vector<std::int32_t>> prompts;
  std::ifstream file(demo_dir() / "prompts.txt");
  for (std::string line; std::getline(file, line);) prompts.push_back(model.prompt(line));
  return prompts;
}

class ParityDemoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_dir() / "model.safetensors")) {
      GTEST_SKIP() << "the demo model's weights are not in this checkout";
    }
    prompts_ = load_prompts();
    ASSERT_EQ(prompts_.size(), 50u);
  }

  static std::unique_ptr<InProcessWorld> start(int tp, int pp, std::int64_t max_batch_tokens) {
    EngineOptions options;
    options.model_dir = model_dir();
    options.tp = tp;
    options.pp = pp;
    options.num_threads = 1;
    options.max_batch_tokens = max_batch_tokens;
    options.kv_tokens = 50 * 192;
    options.step_deadline = std::chrono::seconds(30);
    auto world = InProcessWorld::start(options);
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    return *std::move(world);
  }

  /// Every other prompt is sampled with its own seed, the rest are greedy.
  GenerateRequest request(std::size_t index) const {
    GenerateRequest result;
    result.prompt_token_ids = prompts_[index];
    result.max_tokens = kMaxTokens;
    result.sampling.num_logprobs = -1;
    if (index % 2 == 1) {
      result.sampling.temperature = 1;
      result.sampling.top_p = 0.95f;
      result.sampling.seed = index;
    }
    return result;
  }

  std::vector<Generated> generate_together(InProcessWorld& world) const {
    std::vector<PendingGeneration> pending;
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      pending.push_back(PendingGeneration::submit(world.leader(), request(i)).value());
    }
    std::vector<Generated> results;
    for (auto& each : pending) results.push_back(each.wait());
    return results;
  }

  std::vector<Generated> generate_alone(InProcessWorld& world) const {
    std::vector<Generated> results;
    for (std::size_t i = 0; i < prompts_.size(); ++i) results.push_back(world.generate(request(i)));
    return results;
  }

  static void expect_same(const std::vector<Generated>& found,
                          const std::vector<Generated>& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(found[i].error.message.empty()) << found[i].error.to_string();
      EXPECT_EQ(found[i].token_ids, expected[i].token_ids) << "prompt " << i;
      EXPECT_EQ(found[i].finish_reason, expected[i].finish_reason) << "prompt " << i;
    }
  }

  std::vector<std::vector<std::int32_t>> prompts_;
};

TEST_F(ParityDemoTest, TokensAreTheSameAtEverySplitAndInAnyCompany) {
  const auto alone = generate_alone(*start(1, 1, 256));
  for (const int tp : {1, 2, 4}) {
    for (const int pp : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("tp {} pp {}", tp, pp));
      expect_same(generate_together(*start(tp, pp, 48)), alone);
    }
  }
}

TEST_F(ParityDemoTest, ContinuationsAtRandomCutsAreTheSame) {
  const auto seed = 20261123u;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  const auto alone = generate_alone(*start(1, 1, 256));
  const auto world = start(2, 2, 7);
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    const auto& whole = alone[i].token_ids;
    const auto cut = static_cast<std::ptrdiff_t>(random() % whole.size());
    GenerateRequest rest = request(i);
    rest.emitted_token_ids.assign(whole.begin(), whole.begin() + cut);
    const auto found = world->generate(rest);
    EXPECT_EQ(found.token_ids, std::vector<std::int32_t>(whole.begin() + cut, whole.end()))
        << "prompt " << i << " cut at " << cut;
  }
}

}  // namespace
}  // namespace dsl::testing
