#include "engine/serving/text_service/json_text.h"

#include <array>
#include <charconv>

#include "engine/text/utf8.h"

namespace dsl::serving {
namespace {

/// 0: as it is; 'u': as \u00XX; else the letter behind the backslash.
constexpr std::array<char, 128> kEscapes = [] {
  std::array<char, 128> escapes{};
  for (std::size_t i = 0; i < 0x20; ++i) escapes[i] = 'u';
  escapes['\b'] = 'b';
  escapes['\f'] = 'f';
  escapes['\n'] = 'n';
  escapes['\r'] = 'r';
  escapes['\t'] = 't';
  escapes['"'] = '"';
  escapes['\\'] = '\\';
  return escapes;
}();

void append_escaped(std::string& out, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const char escape = byte < kEscapes.size() ? kEscapes[byte] : '\0';
    if (escape == '\0') continue;
    out += text.substr(begin, i - begin);
    begin = i + 1;
    out += '\\';
    out += escape;
    if (escape == 'u') {
      out += "00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  out += text.substr(begin);
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  if (text::find_invalid_utf8(text)) {
    text::Utf8Stream stream;
    append_escaped(out, stream.push(text));
    append_escaped(out, stream.finish());
  } else {
    append_escaped(out, text);
  }
  out += '"';
}

void append_json_number(std::string& out, float number) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  out.append(digits.data(), end.ptr);
}

void append_json_integer(std::string& out, std::int64_t number) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  out.append(digits.data(), end.ptr);
}

void append_json_integers(std::string& out, std::span<const std::int32_t> numbers) {
  out += '[';
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) out += ',';
    append_json_integer(out, numbers[i]);
  }
  out += ']';
}

}  // namespace dsl::serving
