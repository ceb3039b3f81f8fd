#include "launcher/serve_bench/serve_dataset.h"

#include <array>
#include <nlohmann/json.hpp>
#include <random>

#include "launcher/process/line_buffer.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::string_view kRemedy = "see dslaunch bench serve --help";
constexpr std::size_t kMaxLineBytes = 16 << 20;
constexpr std::array kSyllables = {"ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu",
                                   "na", "pe", "ri", "so", "tu", "va", "we", "xi", "yo", "zu"};

std::string random_text(std::mt19937_64& random, std::int64_t num_words) {
  std::string text;
  for (std::int64_t word = 0; word < num_words; ++word) {
    if (word > 0) text += ' ';
    for (int syllable = 0; syllable < 3; ++syllable) {
      text += kSyllables[random() % kSyllables.size()];
    }
  }
  return text;
}

/// One line, or what is wrong with it.
tl::expected<BenchPrompt, std::string> read_prompt(const json& object, std::int64_t max_tokens) {
  if (!object.is_object()) return tl::unexpected<std::string>("is no object");
  BenchPrompt prompt;
  prompt.max_tokens = max_tokens;
  for (const auto& [field, value] : object.items()) {
    if (field == "prompt" && value.is_string()) {
      prompt.text = value.get<std::string>();
    } else if (field == "max_tokens" && value.is_number_integer() &&
               value.get<std::int64_t>() > 0) {
      prompt.max_tokens = value.get<std::int64_t>();
    } else if (field == "messages" && value.is_array()) {
      for (const json& message : value) {
        const bool is_text = message.is_object() && message.contains("role") &&
                             message["role"].is_string() && message.contains("content") &&
                             message["content"].is_string();
        if (!is_text) return tl::unexpected<std::string>("has a message without role and content");
        prompt.messages.push_back(
            {message["role"].get<std::string>(), message["content"].get<std::string>()});
      }
    } else {
      return tl::unexpected<std::string>(fmt::format("has a wrong field \"{}\"", field));
    }
  }
  if (prompt.text.empty() == prompt.messages.empty()) {
    return tl::unexpected<std::string>("needs one of prompt and messages");
  }
  return prompt;
}

}  // namespace

std::vector<BenchPrompt> synthetic_prompts(const SyntheticOptions& options) {
  std::mt19937_64 random(static_cast<std::uint64_t>(options.seed));
  std::vector<BenchPrompt> prompts;
  for (int i = 0; i < options.num_prompts; ++i) {
    prompts.push_back({{}, random_text(random, options.prompt_words), options.max_tokens});
  }
  return prompts;
}

Result<std::vector<BenchPrompt>> parse_prompts(std::string_view text, std::string_view origin,
                                               std::int64_t max_tokens) {
  std::vector<BenchPrompt> prompts;
  Status status;
  int number = 0;
  const auto take_line = [&](std::string_view line) {
    ++number;
    if (!status || line.empty()) return;
    const std::string where = fmt::format("{}:{}", origin, number);
    const Result<json> object = parse_json(line, where, ErrorCode::kConfig);
    if (!object) {
      status = tl::unexpected<Error>(object.error());
      return;
    }
    auto prompt = read_prompt(*object, max_tokens);
    if (prompt) {
      prompts.push_back(*std::move(prompt));
    } else {
      status = fail(ErrorCode::kConfig, kRemedy, "{}: {}", where, prompt.error());
    }
  };
  LineBuffer lines(kMaxLineBytes);
  lines.feed(text, take_line);
  lines.finish(take_line);
  DSL_TRY(status);
  if (prompts.empty()) return fail(ErrorCode::kConfig, kRemedy, "{} holds no request", origin);
  return prompts;
}

}  // namespace dsl::launcher
