// What a serving benchmark sends: made up, or read from a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/openai_client/completion_request.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// One conversation or one text to continue.
struct BenchPrompt {
  std::vector<ChatMessage> messages;  // empty: `text` is continued
  std::string text;
  std::int64_t max_tokens = 128;
};

struct SyntheticOptions {
  int num_prompts = 100;
  std::int64_t prompt_words = 64;
  std::int64_t max_tokens = 128;
  std::int64_t seed = 1;
};

/// Texts of random words; the same seed gives the same texts, and no two share a beginning.
std::vector<BenchPrompt> synthetic_prompts(const SyntheticOptions& options);

/// One JSON object a line, {"prompt":"…"} or {"messages":[{"role":…,"content":…}]}, each with an
/// optional "max_tokens"; kConfig names the line.
Result<std::vector<BenchPrompt>> parse_prompts(std::string_view text, std::string_view origin,
                                               std::int64_t max_tokens);

}  // namespace dsl::launcher
