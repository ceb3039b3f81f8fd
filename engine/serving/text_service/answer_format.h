// How one choice of an answer is to be presented: all that the postprocessor needs besides the
// tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dsl::serving {

enum class AnswerKind { kChat, kCompletion };

/// How a model writes tool calls between its <｜tool▁call▁begin｜> and <｜tool▁call▁end｜>.
enum class ToolDialect {
  kNone,        // tool calls are not looked for
  kFencedJson,  // V3, R1: function<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```
  kBareJson,    // V3.1: NAME<｜tool▁sep｜>ARGUMENTS
};

/// Value type; travels as JSON (text_json.h).
struct AnswerFormat {
  AnswerKind kind = AnswerKind::kChat;
  bool is_streamed = false;
  std::int32_t choice_index = 0;
  std::vector<std::string> stop_strings;
  std::vector<std::int32_t> stop_token_ids;  // end the answer and are not part of its text
  bool wants_logprobs = false;
  /// Tokens at the end of the prompt that the answer continues: an opened <think>, the head of a
  /// forced tool call.
  std::vector<std::int32_t> lead_token_ids;
  bool splits_reasoning = false;  // into reasoning_content and content
  ToolDialect tool_dialect = ToolDialect::kNone;
  std::int32_t max_tool_calls = 0;     // 0: no bound; the answer is stopped after that many
  std::uint64_t tool_call_id_key = 0;  // what the ids of tool calls are made from
  std::string echo_text;               // completions with echo: the prompt

  bool operator==(const AnswerFormat&) const = default;
};

}  // namespace dsl::serving
