// The inside of ServedModel: what preprocessor and postprocessor know of a model's text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_format.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace dsl::serving {

/// The tokens that divide an answer into parts. Only what the model has as one token counts: no
/// text that a model or a user spells out is ever taken for one.
struct AnswerMarkers {
  std::optional<std::int32_t> think_begin;
  std::optional<std::int32_t> think_end;
  std::optional<std::int32_t> calls_begin;
  std::optional<std::int32_t> calls_end;
  std::optional<std::int32_t> call_begin;
  std::optional<std::int32_t> call_end;
  std::optional<std::int32_t> separator;

  static AnswerMarkers of(const text::Tokenizer& tokenizer);
  bool has_reasoning() const { return think_begin && think_end; }
  bool has_tool_calls() const {
    return calls_begin && calls_end && call_begin && call_end && separator;
  }
};

/// How a chat template treats tools, found out by rendering with it.
struct TemplateHabits {
  ToolDialect tool_dialect = ToolDialect::kNone;  // kNone: past calls are not written out
  bool shows_tools = false;                       // writes the list of tools itself
  bool shows_calls_beside_content = false;        // also of a message that has both

  static TemplateHabits of(const text::ChatTemplate& chat_template);
};

struct ModelText {
  text::Tokenizer tokenizer;
  std::optional<text::ChatTemplate> chat_template;
  AnswerMarkers markers;
  TemplateHabits habits;
  sampling::SamplingParams default_sampling;  // for what a request leaves open
  std::int64_t vocab_size = 0;                // of the logits
  std::size_t max_piece_bytes = 1;            // of the longest token
};

}  // namespace dsl::serving
