// The demo model's answers to every question kept out of its training, through the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/e2e/demo_model.h"
#include "tests/e2e/model_backend.h"
#include "tests/unit/engine/in_process_world.h"

namespace dsl::testing {
namespace {

constexpr std::size_t kNumQuestions = 2460;
constexpr std::int64_t kMaxTokens = 96;
/// Requests under way at a time.
constexpr std::size_t kBatch = 120;
/// Room for the question and reply of each: none waits for another's blocks.
constexpr std::int64_t kKvTokens = kBatch * 192;

struct Question {
  std::string text;
  long long answer = 0;
};

std::vector<Question> load_questions() {
  std::vector<Question> questions;
  std::ifstream file(demo_dir() / "heldout.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto row = nlohmann::json::parse(line);
    questions.push_back({row.at("question"), row.at("answer")});
  }
  return questions;
}

/// The last integer after the end of the reasoning, as tests/demo_model/evaluate.py reads it.
std::optional<long long> final_integer(const std::string& reply) {
  static const std::regex integer("-?[0-9]+");
  constexpr std::string_view kEndOfThought = "</think>";
  const auto end = reply.rfind(kEndOfThought);
  if (end == std::string::npos) return std::nullopt;
  const std::string answer = reply.substr(end + kEndOfThought.size());
  std::optional<long long> last;
  for (std::sregex_iterator match(answer.begin(), answer.end(), integer), none; match != none;
       ++match) {
    last = std::strtoll(match->str().c_str(), nullptr, 10);
  }
  return last;
}

class DemoAccuracyTest : public ::testing::Test {
 protected:
  /// How many of the questions `checkpoint` answers rightly, greedy, in BF16 compute. Prints the
  /// others.
  static std::size_t num_right(const std::string& checkpoint,
                               const std::vector<Question>& questions, EngineOptions options = {}) {
    const DemoModel model(demo_dir() / checkpoint);
    select_backend(options);
    options.model_dir = demo_dir() / checkpoint;
    options.num_threads = 1;
    options.kv_tokens = kKvTokens;
    options.step_deadline = std::chrono::seconds(30);
    auto world = InProcessWorld::start(options);
    if (!world.has_value()) throw std::runtime_error(world.error().to_string());
    std::size_t count = 0;
    for (std::size_t first = 0; first < questions.size(); first += kBatch) {
      const auto batch =
          std::span(questions).subspan(first, std::min(kBatch, questions.size() - first));
      std::vector<PendingGeneration> pending;
      for (const Question& question : batch) {
        GenerateRequest request;
        request.prompt_token_ids = model.prompt(question.text);
        request.max_tokens = kMaxTokens;
        pending.push_back(
            PendingGeneration::submit((*world)->leader(), std::move(request)).value());
      }
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const Generated reply = pending[i].wait();
        EXPECT_TRUE(reply.error.message.empty()) << reply.error.to_string();
        const std::string text = model.text(reply.token_ids);
        if (final_integer(text) == batch[i].answer) {
          ++count;
        } else {
          std::cout << checkpoint << ": " << batch[i].text << " expected " << batch[i].answer
                    << ", reply: " << text << "\n";
        }
      }
    }
    return count;
  }
};

TEST_F(DemoAccuracyTest, Bf16AnswersNinetyNinePercentOfTheHeldOutQuestions) {
  const auto questions = load_questions();
  ASSERT_EQ(questions.size(), kNumQuestions);
  const std::size_t right = num_right("arith-bf16", questions);
  std::cout << "arith-bf16: " << right << " of " << questions.size() << " right\n";
  EXPECT_GE(right * 100, questions.size() * 99);
}

TEST_F(DemoAccuracyTest, Fp8AnswersNinetyEightPercentOfTheHeldOutQuestions) {
  const auto questions = load_questions();
  ASSERT_EQ(questions.size(), kNumQuestions);
  const std::size_t right = num_right("arith-fp8", questions);
  std::cout << "arith-fp8: " << right << " of " << questions.size() << " right\n";
  EXPECT_GE(right * 100, questions.size() * 98);
}

/// Every fifth, as all of them take half a minute.
std::vector<Question> some_questions() {
  const auto all = load_questions();
  EXPECT_EQ(all.size(), kNumQuestions);
  std::vector<Question> some;
  for (std::size_t i = 0; i < all.size(); i += 5) some.push_back(all[i]);
  return some;
}

TEST_F(DemoAccuracyTest, Fp8WithQuantisedActivationsAnswersNinetyEightPercentAsWell) {
  const auto questions = some_questions();
  EngineOptions options;
  options.fp8_activations = true;
  const std::size_t right = num_right("arith-fp8", questions, options);
  std::cout << "arith-fp8 with quantised activations: " << right << " of " << questions.size()
            << " right\n";
  EXPECT_GE(right * 100, questions.size() * 98);
}

TEST_F(DemoAccuracyTest, Fp8WithAnFp8CacheAnswersNinetyEightPercentAsWell) {
  const auto questions = some_questions();
  EngineOptions options;
  options.fp8_cache = true;
  const std::size_t right = num_right("arith-fp8", questions, options);
  std::cout << "arith-fp8 with an FP8 cache: " << right << " of " << questions.size() << " right\n";
  EXPECT_GE(right * 100, questions.size() * 98);
}

}  // namespace
}  // namespace dsl::testing
