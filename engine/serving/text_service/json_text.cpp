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

void append_escaped(std::string& json, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const char escape = byte < kEscapes.size() ? kEscapes[byte] : '\0';
    if (escape == '\0') continue;
    json += text.substr(begin, i - begin);
    begin = i + 1;
    json += '\\';
    json += escape;
    if (escape == 'u') {
      json += "00";
      json += kDigits[byte >> 4];
      json += kDigits[byte & 15];
    }
  }
  json += text.substr(begin);
}

}  // namespace

void append_json_string(std::string& json, std::string_view text) {
  json += '"';
  if (text::find_invalid_utf8(text)) {
    text::Utf8Stream stream;
    append_escaped(json, stream.push(text));
    append_escaped(json, stream.finish());
  } else {
    append_escaped(json, text);
  }
  json += '"';
}

void append_json_number(std::string& json, float number) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  json.append(digits.data(), end.ptr);
}

void append_json_integer(std::string& json, std::int64_t number) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  json.append(digits.data(), end.ptr);
}

void append_json_integers(std::string& json, std::span<const std::int32_t> numbers) {
  json += '[';
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) json += ',';
    append_json_integer(json, numbers[i]);
  }
  json += ']';
}

}  // namespace dsl::serving
