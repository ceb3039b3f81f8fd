// What one token of a streamed answer costs the postprocessor: tokens to the JSON of a chunk, on
// one core, the text verified first.
//   answer_bench [tokens = 200000] [repetitions = 9]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/serving/text_service/answer_envelope.h"
#include "engine/serving/text_service/answer_stream.h"
#include "engine/serving/text_service/model_text.h"

namespace dsl::serving {
namespace {

constexpr int kMinRepetitions = 7;
constexpr std::size_t kTokensOfAnswer = 2000;

using Model = std::shared_ptr<const ServedModel>;
using Tokens = std::vector<sampling::SampledToken>;

std::string text_of_answer() {
  std::string text;
  for (int i = 0; text.size() < 6 * kTokensOfAnswer; ++i)
    text +=
        fmt::format("The sum of {} and {} is {}.\n两数之和是 {}。", i, i + 1, 2 * i + 1, 2 * i + 1);
  return text;
}

Tokens answer_of(const Model& model, bool with_logprobs) {
  const auto ids = model->text().tokenizer.encode(text_of_answer()).value();
  Tokens tokens;
  for (std::size_t i = 0; i < std::min(ids.size(), kTokensOfAnswer); ++i) {
    tokens.push_back({ids[i], -0.5f, {}});
    if (with_logprobs) tokens.back().top_logprobs = {{ids[i], -0.5f}, {9, -2.25f}, {10, -3.5f}};
  }
  return tokens;
}

/// One answer, a push a token; the bytes of all chunks.
std::size_t stream(const Model& model, const AnswerFormat& format, const Tokens& tokens) {
  const AnswerEnvelope envelope(AnswerKind::kChat, "key", 1, "demo", /*includes_usage=*/false);
  AnswerStream answer = AnswerStream::open(model, format).value();
  const auto chunk_size = [&](std::string_view choice_json) {
    std::string chunk(envelope.chunk_head());
    chunk.append(choice_json).append(envelope.chunk_tail());
    return chunk.size();
  };
  std::size_t num_bytes = 0;
  for (const sampling::SampledToken& token : tokens) {
    const AnswerUpdate update = answer.push({&token, 1});
    if (!update.choice_json.empty()) num_bytes += chunk_size(update.choice_json);
  }
  return num_bytes + chunk_size(answer.finish(AnswerEnd::kLength).choice_json);
}

void verify(const Model& model, const AnswerFormat& format, const Tokens& tokens) {
  std::vector<std::int32_t> ids;
  for (const auto& token : tokens) ids.push_back(token.token_id);
  AnswerStream answer = AnswerStream::open(model, format).value();
  std::string text;
  const auto add = [&](const AnswerUpdate& update) {
    if (update.choice_json.empty()) return;
    const auto delta = nlohmann::json::parse(update.choice_json)["delta"];
    text += delta.value("reasoning_content", "") + delta.value("content", "");
  };
  for (const sampling::SampledToken& token : tokens) add(answer.push({&token, 1}));
  add(answer.finish(AnswerEnd::kLength));
  DSL_CHECK(text == model->text().tokenizer.decode(ids), "the stream has another text: {}", text);
}

/// Microseconds per token, the median of the repetitions.
double median_cost(const Model& model, const AnswerFormat& format, const Tokens& tokens,
                   std::size_t num_tokens, int repetitions) {
  std::vector<double> costs;
  for (int i = 0; i < repetitions; ++i) {
    std::size_t num_done = 0;
    const auto start = std::chrono::steady_clock::now();
    for (; num_done < num_tokens; num_done += tokens.size()) stream(model, format, tokens);
    const std::chrono::duration<double, std::micro> elapsed =
        std::chrono::steady_clock::now() - start;
    costs.push_back(elapsed.count() / static_cast<double>(num_done));
  }
  std::ranges::sort(costs);
  return costs[costs.size() / 2];
}

int run(std::size_t num_tokens, int repetitions) {
  const auto loaded = ServedModel::load(DSL_TEST_DATA_DIR "/demo_model/arith-bf16", {"demo", 0});
  DSL_CHECK(loaded.has_value(), "{}", loaded.error().to_string());
  const Model& model = *loaded;
  AnswerFormat plain;
  plain.is_streamed = true;
  plain.splits_reasoning = true;
  AnswerFormat reasoning = plain;
  reasoning.lead_token_ids = {*model->text().markers.think_begin};
  AnswerFormat stops = plain;
  stops.stop_strings = {"Question:", "\n\n\n", "END"};
  AnswerFormat tools = plain;
  tools.tool_dialect = ToolDialect::kFencedJson;
  AnswerFormat logprobs = plain;
  logprobs.wants_logprobs = true;
  const std::pair<const char*, const AnswerFormat*> cases[] = {{"content", &plain},
                                                               {"reasoning", &reasoning},
                                                               {"stop strings", &stops},
                                                               {"tools", &tools},
                                                               {"3 logprobs", &logprobs}};
  for (const auto& [name, format] : cases) {
    const Tokens tokens = answer_of(model, format->wants_logprobs);
    verify(model, *format, tokens);
    fmt::print("{:<14}{:.2f} us per token, {} bytes per chunk\n", name,
               median_cost(model, *format, tokens, num_tokens, repetitions),
               stream(model, *format, tokens) / tokens.size());
  }
  return 0;
}

}  // namespace
}  // namespace dsl::serving

int main(int argc, char** argv) {
  const long num_tokens = argc > 1 ? std::atol(argv[1]) : 200'000;
  const int repetitions =
      std::max(argc > 2 ? std::atoi(argv[2]) : 9, dsl::serving::kMinRepetitions);
  return dsl::serving::run(static_cast<std::size_t>(std::max(num_tokens, 1L)), repetitions);
}
