// Text at the engine port: prompts to token ids, generated ids to text with stop strings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/detokenizer.h"
#include "engine/text/stop_matcher.h"
#include "engine/text/tokenizer.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// The text of one answer. Thread-compatible.
class TextStream {
 public:
  TextStream(text::Detokenizer detokenizer, text::StopMatcher stops)
      : detokenizer_(std::move(detokenizer)), stops_(std::move(stops)) {}

  /// Text that is complete with this token and cannot become part of a stop string.
  std::string push(std::int32_t token_id) { return stops_.push(detokenizer_.push(token_id)); }
  /// The rest, at the end of the answer.
  std::string finish() { return stops_.push(detokenizer_.finish()) + stops_.finish(); }
  /// True when a stop string ended the text.
  bool is_stopped() const { return stops_.matched().has_value(); }

 private:
  text::Detokenizer detokenizer_;
  text::StopMatcher stops_;
};

/// A model's tokenizer and chat template; either may be absent. Immutable, thread-safe.
class TextCodec {
 public:
  /// Reads what the model's directory has. Absent files are no error; malformed ones are.
  static Result<TextCodec> load(const std::filesystem::path& model_dir);

  bool has_tokenizer() const { return tokenizer_.has_value(); }
  bool has_chat_template() const { return chat_template_.has_value(); }

  /// Plain text with the model's BOS. Control tokens written out in it stay text. kNotFound without
  /// a tokenizer.
  Result<std::vector<std::int32_t>> encode_text(std::string_view prompt) const;
  /// A conversation through the chat template. kNotFound without tokenizer or template.
  Result<std::vector<std::int32_t>> encode_chat(std::span<const text::ChatMessage> messages,
                                                const text::RenderOptions& options) const;
  /// A stream for an answer; nothing without a tokenizer, which is an error only with stop strings.
  Result<std::optional<TextStream>> open_stream(std::vector<std::string> stop_strings) const;

 private:
  TextCodec() = default;

  std::optional<text::Tokenizer> tokenizer_;
  std::optional<text::ChatTemplate> chat_template_;
};

}  // namespace dsl::serving
