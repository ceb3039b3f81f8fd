// Properties of every answer: cuts do not matter, a rebuilt stream goes on exactly, a streamed
// answer is the whole one, and nothing is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "engine/serving/text_service/answer_stream.h"
#include "tests/unit/text_service/served_models.h"

namespace dsl::serving {
namespace {

using nlohmann::json;
using test::DeltaJoiner;
using test::SharedModel;

/// Answers full of what has meaning: markers, line breaks, fences, halves of characters.
class RandomAnswers {
 public:
  RandomAnswers(SharedModel model, std::uint32_t seed) : model_(std::move(model)), random_(seed) {
    for (const char* text :
         {"<think>",
          "</think>",
          "<｜tool▁calls▁begin｜>",
          "<｜tool▁calls▁end｜>",
          "<｜tool▁call▁begin｜>",
          "<｜tool▁call▁end｜>",
          "<｜tool▁sep｜>",
          "function",
          "add",
          "\n```json\n",
          "\n```",
          "```",
          "\n",
          "\n\n",
          " ",
          "{\"a\": 1}",
          "END",
          "EN",
          "D",
          "12",
          "🙂",
          "<｜end▁of▁sentence｜>",
          "word",
          "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"x\":",
          "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"y\": "
          "2}<｜tool▁call▁end｜>"})
      pieces_.push_back(test::tokens_of(*model_, text));
  }

  std::vector<sampling::SampledToken> tokens() {
    std::vector<std::int32_t> ids;
    for (std::size_t n = below(25); n > 0; --n) {
      if (below(4) == 0) {
        ids.push_back(static_cast<std::int32_t>(below(768)));
        continue;
      }
      const auto& piece = pieces_[below(pieces_.size())];
      ids.insert(ids.end(), piece.begin(), piece.end());
    }
    return test::sampled(ids);
  }

  AnswerFormat format() {
    AnswerFormat format;
    format.kind = below(5) == 0 ? AnswerKind::kCompletion : AnswerKind::kChat;
    format.splits_reasoning = below(4) != 0;
    format.tool_dialect = static_cast<ToolDialect>(below(3));
    format.max_tool_calls = static_cast<std::int32_t>(below(3));
    format.wants_logprobs = below(2) == 0;
    format.tool_call_id_key = below(1000);
    if (below(2) == 0) format.stop_strings = {"END", "\n\n\n"};
    if (below(4) == 0) format.stop_token_ids = {5};
    if (below(2) == 0) format.lead_token_ids = test::tokens_of(*model_, "<think>\n");
    if (format.kind == AnswerKind::kCompletion) {
      format.lead_token_ids.clear();
      format.echo_text = "echo ";
    }
    return format;
  }

  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }

 private:
  SharedModel model_;
  std::mt19937 random_;
  std::vector<std::vector<std::int32_t>> pieces_;
};

/// The message of a whole choice in the form of joined deltas.
json as_joined(const json& choice) {
  json joined = json::object();
  if (choice.contains("text")) joined["text"] = choice["text"];
  const json message = choice.value("message", json::object());
  for (const auto& [name, value] : message.items()) {
    const bool is_empty = value.is_null() || value == "";
    if (!is_empty) joined[name] = value;
  }
  if (!choice["logprobs"].is_null()) {
    for (const auto& [name, list] : choice["logprobs"].items()) {
      if (!list.empty()) joined["logprobs"][name] = list;
    }
  }
  joined["finish_reason"] = choice["finish_reason"];
  return joined;
}

class Answers : public testing::TestWithParam<std::uint32_t> {};

TEST_P(Answers, DoNotDependOnCutsNorOnRebuilding) {
  constexpr int kRounds = 400;
  const SharedModel model = test::r1_model();
  RandomAnswers random(model, GetParam());
  for (int round = 0; round < kRounds; ++round) {
    const auto tokens = random.tokens();
    AnswerFormat format = random.format();
    const AnswerEnd end = random.below(2) == 0 ? AnswerEnd::kStop : AnswerEnd::kLength;
    format.is_streamed = true;

    // One push per token, and each stream rebuilt at a random place.
    AnswerStream single = AnswerStream::open(model, format).value();
    AnswerStream cut = AnswerStream::open(model, format).value();
    DeltaJoiner single_joiner;
    DeltaJoiner cut_joiner;
    for (const auto& token : tokens) single_joiner.add(single.push({&token, 1}).choice_json);
    for (std::size_t begin = 0; begin < tokens.size();) {
      const std::size_t size = 1 + random.below(tokens.size() - begin);
      if (random.below(2) == 0) {
        cut = AnswerStream::open(model, format).value();
        cut.push({tokens.data(), begin});  // the client has what this says
      }
      cut_joiner.add(cut.push({tokens.data() + begin, size}).choice_json);
      begin += size;
    }
    const AnswerUpdate single_end = single.finish(end);
    const AnswerUpdate cut_end = cut.finish(end);
    single_joiner.add(single_end.choice_json);
    cut_joiner.add(cut_end.choice_json);
    ASSERT_EQ(single_joiner.joined(), cut_joiner.joined()) << "round " << round;
    ASSERT_EQ(single_end.num_completion_tokens, cut_end.num_completion_tokens);
    ASSERT_EQ(single_end.num_reasoning_tokens, cut_end.num_reasoning_tokens);
    ASSERT_EQ(single_end.is_stopped, cut_end.is_stopped);

    format.is_streamed = false;
    AnswerStream whole = AnswerStream::open(model, format).value();
    whole.push(tokens);
    ASSERT_EQ(single_joiner.joined(), as_joined(json::parse(whole.finish(end).choice_json)))
        << "round " << round;
  }
}

TEST_P(Answers, KeepAllTextThatIsNoLayout) {
  constexpr int kRounds = 400;
  const SharedModel model = test::r1_model();
  RandomAnswers random(model, GetParam() + 1000);
  for (int round = 0; round < kRounds; ++round) {
    const auto tokens = random.tokens();
    AnswerFormat format;
    format.splits_reasoning = random.below(2) == 0;
    format.tool_dialect = static_cast<ToolDialect>(random.below(3));
    AnswerStream stream = AnswerStream::open(model, format).value();
    stream.push(tokens);
    const json message = json::parse(stream.finish(AnswerEnd::kStop).choice_json)["message"];
    // Characters that no marker and no fence has must all be somewhere, in order of place.
    std::size_t expected = 0;
    std::vector<std::int32_t> ids;
    for (const auto& token : tokens) ids.push_back(token.token_id);
    const auto count = [](const std::string& text) {
      return static_cast<std::size_t>(std::count(text.begin(), text.end(), '1') +
                                      std::count(text.begin(), text.end(), '2'));
    };
    expected = count(test::text_of(*model, ids));
    std::size_t found = 0;
    for (const char* name : {"content", "reasoning_content"})
      found += message.contains(name) && message[name].is_string() ? count(message[name]) : 0;
    for (const json& call : message.value("tool_calls", json::array()))
      found += count(call["function"]["name"]) + count(call["function"]["arguments"]);
    ASSERT_EQ(found, expected) << "round " << round << ": " << test::text_of(*model, ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Answers, testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace dsl::serving
