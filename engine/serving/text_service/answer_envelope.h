// OpenAI's JSON around the choices of an answer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/serving/text_service/answer_format.h"

namespace dsl::serving {

struct Usage {
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_cached_prompt_tokens = 0;  // part of the former
  std::int64_t num_completion_tokens = 0;     // of all choices
  std::int64_t num_reasoning_tokens = 0;      // part of the former
};

/// The constant part of one answer is made once. Value type, thread-safe.
class AnswerEnvelope {
 public:
  /// `request_key` is what makes the id unique: "chatcmpl-KEY" or "cmpl-KEY".
  AnswerEnvelope(AnswerKind kind, std::string_view request_key, std::int64_t created_unix_s,
                 std::string_view model, bool includes_usage);

  /// What is before and behind one choice of AnswerUpdate in a chunk of a streamed answer.
  std::string_view chunk_head() const { return chunk_head_; }
  std::string_view chunk_tail() const { return chunk_tail_; }
  /// The last chunk when usage was asked for: no choices.
  std::string usage_chunk(const Usage& usage) const;
  /// A whole answer that is not streamed.
  std::string whole(std::span<const std::string> choices_json, const Usage& usage) const;

 private:
  std::string chunk_head_;  // up to and with "choices":[
  std::string chunk_tail_;  // from ] on
  std::string whole_head_;
};

}  // namespace dsl::serving
