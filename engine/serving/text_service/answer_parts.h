// What an answer consists of so far, and its JSON: whole or as deltas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_format.h"
#include "engine/serving/text_service/answer_logprobs.h"
#include "engine/text/tokenizer.h"

namespace dsl::serving {

/// Collects the parts of one choice. Every byte of text is announced by receive() and then, in the
/// same order, decided by one of content(), reasoning() and drop(). Thread-compatible.
class AnswerParts {
 public:
  AnswerParts(const text::Tokenizer& tokenizer, const AnswerFormat& format);

  /// A token whose text comes next.
  void note_token(const sampling::SampledToken& token);
  void receive(std::string_view text);

  void content(std::string_view text);
  void reasoning(std::string_view text);
  void drop(std::size_t num_bytes);
  void begin_call(std::string_view name);
  void call_arguments(std::string_view text);

  std::int32_t num_calls() const { return num_calls_; }
  bool has_news() const;
  /// An element of "choices" with what is new, or with the whole message when the answer is not
  /// streamed. `finish_reason` may be empty.
  std::string take_choice(std::string_view finish_reason);
  std::size_t num_bytes() const;

 private:
  struct Call {
    std::int32_t index = 0;
    std::string name;  // empty: more arguments of a call that was told of before
    std::string arguments;
  };
  void decide(std::size_t num_bytes, TextFate fate);
  void append_delta(std::string& json);
  void append_message(std::string& json);
  void append_calls(std::string& json);
  void append_call(std::string& json, const Call& call) const;
  std::string call_id(std::int32_t index) const;

  const AnswerKind kind_;
  const bool is_streamed_;
  const std::int32_t choice_index_;
  const std::uint64_t tool_call_id_key_;

  // New parts; all parts when the answer is not streamed.
  std::string content_;
  std::string reasoning_;
  std::vector<Call> calls_;
  std::optional<AnswerLogprobs> logprobs_;

  std::int32_t num_calls_ = 0;
  bool has_told_role_ = false;
  std::size_t num_received_ = 0;  // bytes of text
  std::size_t num_decided_ = 0;
  std::int64_t num_characters_ = 0;
};

}  // namespace dsl::serving
