// The log probabilities of an answer's tokens in OpenAI's forms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "engine/sampling/sampler.h"
#include "engine/serving/text_service/answer_format.h"
#include "engine/text/tokenizer.h"

namespace dsl::serving {

/// Which part of the answer a run of text went to.
enum class TextFate { kContent, kReasoning, kDropped };

/// Keeps the tokens whose text is not yet decided. A token goes where the first byte of its text
/// goes; tokens without text have no entry. Thread-compatible.
class AnswerLogprobs {
 public:
  AnswerLogprobs(text::Tokenizer tokenizer, AnswerKind kind)
      : tokenizer_(std::move(tokenizer)), kind_(kind) {}

  /// `first_byte` counts all text of the answer before this token, `text_offset` is what
  /// completions report: characters before it.
  void add(const sampling::SampledToken& token, std::size_t first_byte, std::int64_t text_offset);
  /// All text before byte `end` is decided; what is not yet, went to `fate`.
  void decide(std::size_t end, TextFate fate);

  bool is_empty() const { return num_entries_ == 0; }
  /// Appends the object of the decided tokens that were not taken before, or null.
  void take(std::string& json);
  std::size_t num_bytes() const;

 private:
  struct Entry {
    sampling::SampledToken token;
    std::size_t first_byte = 0;
    std::int64_t text_offset = 0;
  };
  void write(const Entry& entry, TextFate fate);
  void write_for_chat(const sampling::SampledToken& token, std::string& list) const;
  void write_for_completion(const Entry& entry);
  std::string_view piece(std::int32_t token_id) const;
  void append_bytes_of(std::int32_t token_id, std::string& json) const;

  text::Tokenizer tokenizer_;
  AnswerKind kind_;
  std::deque<Entry> undecided_;
  std::size_t num_entries_ = 0;  // written and not taken
  // Lists without their brackets: of a chat's content and reasoning, or of a completion.
  std::string content_;
  std::string reasoning_;
  std::string tokens_;
  std::string token_logprobs_;
  std::string top_logprobs_;
  std::string text_offsets_;
};

}  // namespace dsl::serving
