// A prompt as text with provenance, so that control tokens can come only from the chat template.
#pragma once

#include <string>
#include <vector>

namespace dsl::text {

/// A run of prompt text. `is_template_literal` is true for what the template's author wrote (and
/// the model's own bos_token and the like) and false for everything that came with the request:
/// contents, roles, names, tools.
struct PromptSegment {
  std::string text;  // UTF-8
  bool is_template_literal = false;

  bool operator==(const PromptSegment&) const = default;
};

/// A rendered prompt; neighbours differ in provenance. The prompt's text is the concatenation.
using Prompt = std::vector<PromptSegment>;

/// The concatenated text of a prompt.
inline std::string prompt_text(const Prompt& prompt) {
  std::string text;
  for (const PromptSegment& segment : prompt) text += segment.text;
  return text;
}

}  // namespace dsl::text
