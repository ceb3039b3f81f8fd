#include "engine/text/jinja/whitespace.h"

#include "engine/text/utf8.h"

namespace dsl::text::jinja {

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::size_t leading_space(std::string_view utf8) {
  std::size_t size = 0;
  while (size < utf8.size()) {
    const Utf8Step step = decode_utf8(utf8.substr(size));
    if (!is_space(step.code_point)) break;
    size += step.length;
  }
  return size;
}

std::size_t trailing_space(std::string_view utf8) {
  std::size_t begin = utf8.size();
  while (begin > 0) {
    std::size_t character = begin - 1;
    while (character > 0 && (static_cast<unsigned char>(utf8[character]) & 0xC0) == 0x80)
      --character;
    if (!is_space(decode_utf8(utf8.substr(character)).code_point)) break;
    begin = character;
  }
  return utf8.size() - begin;
}

}  // namespace dsl::text::jinja
