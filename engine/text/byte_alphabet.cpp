#include "engine/text/byte_alphabet.h"

#include <array>

#include "engine/text/utf8.h"

namespace dsl::text {
namespace {

struct Alphabet {
  std::array<char32_t, 256> character{};                // of a byte
  std::array<std::optional<std::uint8_t>, 512> byte{};  // of a character
};

/// Printable Latin-1 bytes stand for themselves; the others, in order, for U+0100 and up.
constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  char32_t next = 256;
  for (int i = 0; i < 256; ++i) {
    const bool printable = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
    const char32_t character = printable ? static_cast<char32_t>(i) : next++;
    alphabet.character[static_cast<std::size_t>(i)] = character;
    alphabet.byte[character] = static_cast<std::uint8_t>(i);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string spell_byte(std::uint8_t byte) {
  std::string spelling;
  append_utf8(spelling, kAlphabet.character[byte]);
  return spelling;
}

std::optional<std::string> spelled_bytes(std::string_view spelling) {
  std::string bytes;
  while (!spelling.empty()) {
    const Utf8Step step = decode_utf8(spelling);
    if (step.kind != Utf8Step::Kind::kCodePoint || step.code_point >= kAlphabet.byte.size()) {
      return std::nullopt;
    }
    const std::optional<std::uint8_t> byte = kAlphabet.byte[step.code_point];
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    spelling.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace dsl::text
