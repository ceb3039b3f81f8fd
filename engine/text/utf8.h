// UTF-8: validation with the offset of the fault, and a stream that repairs and never splits
// characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsl::text {

/// One step of decoding at the start of `bytes`: a code point, or a fault.
struct Utf8Step {
  enum class Kind { kCodePoint, kInvalid, kTruncated };
  Kind kind = Kind::kInvalid;
  char32_t code_point = 0;  // of kCodePoint
  std::size_t length =
      0;  // bytes of the code point; of a fault the longest prefix that could have become one, >= 1
};

/// Decodes the first code point of `bytes`, which must not be empty. Surrogates, overlong forms and
/// values above U+10FFFF are invalid.
Utf8Step decode_utf8(std::string_view bytes);

/// Offset of the first byte that is not part of a valid character, or nothing when all is valid.
std::optional<std::size_t> find_invalid_utf8(std::string_view bytes);

/// Appends a code point, which must be a valid scalar value.
void append_utf8(std::string& text, char32_t code_point);

/// Repairs a byte stream: complete characters come out as soon as they are complete, each maximal
/// invalid part as one U+FFFD (as Unicode and Rust's from_utf8_lossy do). Thread-compatible.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  std::string finish();

 private:
  std::string pending_;  // a prefix of one character, at most 3 bytes
};

}  // namespace dsl::text
