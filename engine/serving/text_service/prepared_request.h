// An OpenAI request after preprocessing: checked, tokenised, ready to run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/serving/text_service/answer_format.h"
#include "engine/serving/text_service/engine_call.h"

namespace dsl::serving {

struct PreparedChoice {
  EngineCall call;
  AnswerFormat format;
};

/// Value type; travels as JSON (text_json.h). choices[i].format.choice_index is i: for each prompt
/// in turn its n choices.
struct PreparedRequest {
  AnswerKind kind = AnswerKind::kChat;
  std::string model;  // as asked for
  bool is_streamed = false;
  bool includes_usage = false;         // stream_options.include_usage
  std::int64_t num_prompt_tokens = 0;  // of all prompts, each counted once
  std::string user;
  std::vector<PreparedChoice> choices;  // never empty
};

}  // namespace dsl::serving
