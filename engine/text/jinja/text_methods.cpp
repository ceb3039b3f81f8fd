#include "engine/text/jinja/text_methods.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/whitespace.h"
#include "engine/text/utf8.h"

namespace dsl::text::jinja {
namespace {

std::int64_t limit_of(std::int64_t maximum) {
  return maximum < 0 ? std::numeric_limits<std::int64_t>::max() : maximum;
}

/// Bytes at the start (or, for kRight, the end) of `text` that are among `characters`.
std::size_t covered_by(std::string_view text, std::string_view characters, Ends end) {
  std::size_t covered = 0;
  while (covered < text.size()) {
    std::string_view character;
    if (end == Ends::kRight) {
      std::size_t begin = text.size() - covered - 1;
      while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
      character = text.substr(begin, text.size() - covered - begin);
    } else {
      character = text.substr(covered, decode_utf8(text.substr(covered)).length);
    }
    if (characters.find(character) == std::string_view::npos) break;
    covered += character.size();
  }
  return covered;
}

bool starts_line_break(std::string_view rest, std::size_t& length) {
  const Utf8Step step = decode_utf8(rest);
  const char32_t c = step.code_point;
  length = rest.starts_with("\r\n") ? 2 : step.length;
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

SourcedText strip(const SourcedText& text, const std::optional<std::string_view>& characters,
                  Ends ends) {
  const std::string_view bytes = text.bytes();
  std::size_t left = 0;
  if (ends != Ends::kRight) {
    left = characters ? covered_by(bytes, *characters, Ends::kLeft) : leading_space(bytes);
  }
  const std::string_view rest = bytes.substr(left);
  std::size_t right = 0;
  if (ends != Ends::kLeft) {
    right = characters ? covered_by(rest, *characters, Ends::kRight) : trailing_space(rest);
  }
  return text.substr(left, rest.size() - right);
}

List split_on_space(const SourcedText& text, std::int64_t max_splits) {
  const std::string_view bytes = text.bytes();
  List parts;
  std::size_t position = leading_space(bytes);
  while (position < bytes.size()) {
    if (static_cast<std::int64_t>(parts.size()) == limit_of(max_splits)) {
      parts.push_back(Value::text(text.substr(position, bytes.size() - position)));
      break;
    }
    std::size_t end = position;
    while (end < bytes.size() && leading_space(bytes.substr(end, 4)) == 0) {
      end += decode_utf8(bytes.substr(end)).length;
    }
    parts.push_back(Value::text(text.substr(position, end - position)));
    position = end + leading_space(bytes.substr(end));
  }
  return parts;
}

List split(const SourcedText& text, std::string_view separator, std::int64_t max_splits,
           Ends from) {
  const std::string_view bytes = text.bytes();
  List parts;
  if (from == Ends::kRight) {
    std::size_t end = bytes.size();
    for (std::int64_t count = limit_of(max_splits); count > 0 && end >= separator.size(); --count) {
      const std::size_t found = bytes.substr(0, end).rfind(separator);
      if (found == std::string_view::npos) break;
      const std::size_t begin = found + separator.size();
      parts.push_back(Value::text(text.substr(begin, end - begin)));
      end = found;
    }
    parts.push_back(Value::text(text.substr(0, end)));
    std::ranges::reverse(parts);
    return parts;
  }
  std::size_t begin = 0;
  for (std::int64_t count = limit_of(max_splits); count > 0; --count) {
    const std::size_t found = bytes.find(separator, begin);
    if (found == std::string_view::npos) break;
    parts.push_back(Value::text(text.substr(begin, found - begin)));
    begin = found + separator.size();
  }
  parts.push_back(Value::text(text.substr(begin, bytes.size() - begin)));
  return parts;
}

List split_lines(const SourcedText& text) {
  const std::string_view bytes = text.bytes();
  List lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t length = 0;
    if (starts_line_break(bytes.substr(i), length)) {
      lines.push_back(Value::text(text.substr(begin, i - begin)));
      begin = i + length;
    }
    i += length;
  }
  if (begin < bytes.size()) lines.push_back(Value::text(text.substr(begin, bytes.size() - begin)));
  return lines;
}

SourcedText replace(const SourcedText& text, std::string_view from, const SourcedText& to,
                    std::int64_t max_count, int line) {
  constexpr std::size_t kMaxSize = std::size_t{64} << 20;
  const std::string_view bytes = text.bytes();
  SourcedText out;
  std::size_t copied = 0;
  std::size_t search = 0;
  for (std::int64_t count = limit_of(max_count); count > 0; --count) {
    const std::size_t found = bytes.find(from, search);
    if (found == std::string_view::npos) break;
    out.append(text.substr(copied, found - copied));
    out.append(to);
    if (out.size() > kMaxSize) give_up(line, "replace: a result beyond {} bytes", kMaxSize);
    copied = found + from.size();
    search = copied;
    if (from.empty()) {  // before every character and at the end
      if (found == bytes.size()) break;
      search += decode_utf8(bytes.substr(found)).length;
    }
  }
  out.append(text.substr(copied, bytes.size() - copied));
  return out;
}

SourcedText change_case(const SourcedText& text, Case target, int line) {
  bool is_first = true;  // of the text
  bool starts_word = true;
  return text.map_bytes([&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80)
      give_up(line, "changing the case of characters beyond ASCII is not implemented");
    const bool raises =
        target == Case::kUpper || (target == Case::kCapitalised && is_first) ||
        ((target == Case::kTitle || target == Case::kWordBeginnings) && starts_word);
    is_first = false;
    starts_word =
        target == Case::kWordBeginnings
            ? is_space(byte) || std::string_view("-({[<").find(c) != std::string_view::npos
            : std::isalpha(byte) == 0;
    return static_cast<char>(raises ? std::toupper(byte) : std::tolower(byte));
  });
}

}  // namespace dsl::text::jinja
