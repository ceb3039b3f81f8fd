// Byte-level BPE as Hugging Face `tokenizers` does it, read from a model's tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/prompt.h"
#include "transport/base/error.h"

namespace dsl::text {

/// Whether control tokens written out in a text ("<｜User｜>") become that token or stay ordinary
/// text. Added tokens that stand for text (a single character or white space, not marked special)
/// match either way.
enum class SpecialTokens { kIgnore, kParse };

/// Whether the tokens that the model wants around every sequence (BOS) are added.
enum class PostProcessing { kSkip, kApply };

/// Whether tokens that tokenizer.json marks as special (BOS, EOS, padding) appear in decoded text.
/// Reasoning and tool markers are usually not marked so and always appear, because what parses the
/// answer needs them.
enum class SpecialText { kSkip, kShow };

struct EncodeOptions {
  SpecialTokens special_tokens = SpecialTokens::kIgnore;
  PostProcessing post_processing = PostProcessing::kSkip;
};

/// A model's vocabulary and the rules that cut text into it. Immutable; thread-safe. Cheap to copy
/// (shared state).
class Tokenizer {
 public:
  /// Reads tokenizer.json (and, beside it, tokenizer_config.json for add_bos_token, bos_token and
  /// eos_token). `path` is a model folder or the tokenizer.json itself. Errors: kNotFound, kIo,
  /// kTokenizerCorrupt, kTokenizerUnsupported (naming the component).
  static Result<Tokenizer> load(const std::filesystem::path& path);
  /// The same from text in memory. `origin` is what messages call it; `config_json` may be empty.
  static Result<Tokenizer> parse(std::string_view tokenizer_json, std::string_view config_json,
                                 std::string_view origin);

  /// Token ids of UTF-8 text. Errors: kInvalidUtf8 with the byte offset.
  Result<std::vector<std::int32_t>> encode(std::string_view utf8,
                                           const EncodeOptions& options = {}) const;
  /// Token ids of a rendered prompt: what encode(text, kParse) gives, except that a control token
  /// matches only where all its bytes are template literals. Errors: kInvalidUtf8 with the byte
  /// offset in the whole prompt.
  Result<std::vector<std::int32_t>> encode_prompt(std::span<const PromptSegment> prompt) const;

  /// The text of ids, invalid UTF-8 replaced by U+FFFD. Ids without a token add nothing.
  std::string decode(std::span<const std::int32_t> ids,
                     SpecialText special_text = SpecialText::kShow) const;

  /// The bytes a token stands for (not always whole UTF-8 characters); nothing for ids without a
  /// token. The view lives as long as any copy of this tokenizer.
  std::optional<std::string_view> id_to_piece(std::int32_t id) const;
  /// The id of a token by its spelling, added tokens included: token_id("<｜User｜>").
  std::optional<std::int32_t> token_id(std::string_view token) const;
  /// True for tokens that tokenizer.json marks as special.
  bool is_special(std::int32_t id) const;
  /// True for added tokens that steer the model (BOS, roles, reasoning and tool markers) and are
  /// not text, whether marked special or not: DeepSeek does not mark its role tokens.
  bool is_control(std::int32_t id) const;

  /// One more than the largest id; a model may have more rows of logits than this.
  std::int32_t vocab_size() const;
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;

 private:
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace dsl::text
