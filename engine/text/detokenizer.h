// Turns a stream of token ids into a stream of text that never holds half a UTF-8 character.
#pragma once

#include <cstdint>
#include <string>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace dsl::text {

/// One stream. The concatenation of all push() and finish() equals Tokenizer::decode of all ids.
/// Owns a share of the tokenizer. Thread-compatible.
class Detokenizer {
 public:
  Detokenizer(Tokenizer tokenizer, SpecialText special_text);

  /// The text that became complete with this token: whole characters only, possibly none. Bytes
  /// that can no longer become a character are U+FFFD.
  std::string push(std::int32_t id);
  /// The end of the stream: U+FFFD if it ended inside a character, else nothing. Starts anew.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  SpecialText special_text_;
  Utf8Stream stream_;
};

}  // namespace dsl::text
