#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/whitespace.h"
#include "engine/text/utf8.h"

namespace dsl::text::jinja {
namespace {

using TokenKind = Token::Kind;

/// Every line break as \n, without one at the very end, as Jinja reads a source.
std::string normalised(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) { return is_name_start(c) || is_digit(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalised(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) text_and_tag();
    put(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  bool next_is(std::string_view text) const { return rest().starts_with(text); }
  char peek(std::size_t ahead) const {
    return position_ + ahead < source_.size() ? source_[position_ + ahead] : '\0';
  }
  void put(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(std::size_t length) {
    const std::string_view passed = rest().substr(0, length);
    line_ += static_cast<int>(std::ranges::count(passed, '\n'));
    position_ += length;
    if (!passed.empty()) line_starting_ = passed.back() == '\n';
  }

  void text_and_tag() {
    std::size_t tag = source_.find('{', position_);
    while (tag != std::string::npos && tag + 1 < source_.size() &&
           std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos) {
      tag = source_.find('{', tag + 1);
    }
    if (tag == std::string::npos || tag + 1 == source_.size()) tag = source_.size();
    std::string_view text = rest().substr(0, tag - position_);
    const bool at_end = tag == source_.size();
    const char sign = at_end || tag + 2 >= source_.size() ? '\0' : source_[tag + 2];
    const char type = at_end ? '\0' : source_[tag + 1];
    const std::size_t passed = text.size();
    if (!at_end) text = strip_before_tag(text, type, sign);
    if (!text.empty()) put(TokenKind::kText, std::string(text));
    advance(passed);
    if (at_end) return;
    advance(sign == '-' || sign == '+' ? 3 : 2);
    if (type == '#') return comment();
    put(type == '{' ? TokenKind::kPrintBegin : TokenKind::kStatementBegin, "");
    tag_contents(type);
  }

  /// {%- strips all white space before a tag; lstrip_blocks what stands between the start of the
  /// line and the tag.
  std::string_view strip_before_tag(std::string_view text, char type, char sign) const {
    if (sign == '-') return text.substr(0, text.size() - trailing_space(text));
    if (sign == '+' || type == '{') return text;
    const std::size_t line_begin = text.rfind('\n') + 1;  // 0 when there is none
    if (line_begin == 0 && !line_starting_) return text;
    const std::string_view line = text.substr(line_begin);
    return leading_space(line) == line.size() ? text.substr(0, line_begin) : text;
  }

  /// Passes over what ends a tag: "-" strips all white space behind it, trim_blocks one line break,
  /// "+" keeps that.
  bool end_of_tag(std::string_view end, bool trims_line_break) {
    for (const std::string_view sign : {"-", "+", ""}) {
      const std::string mark = std::string(sign) + std::string(end);
      if (!next_is(mark) || (sign == "+" && !trims_line_break)) continue;
      const std::string_view behind = rest().substr(mark.size());
      std::size_t length = mark.size();
      if (sign == "-") {
        length += leading_space(behind);
      } else if (sign.empty() && trims_line_break && behind.starts_with('\n')) {
        ++length;
      }
      advance(length);
      return true;
    }
    return false;
  }

  void comment() {
    const int begin_line = line_;
    while (position_ < source_.size()) {
      if (end_of_tag("#}", true)) return;
      advance(1);
    }
    give_up(begin_line, "{{# without #}}");
  }

  void tag_contents(char type) {
    const int begin_line = line_;
    std::string open;  // brackets that are not closed yet
    while (position_ < source_.size()) {
      if (open.empty() && end_of_tag(type == '{' ? "}}" : "%}", type == '%')) {
        put(type == '{' ? TokenKind::kPrintEnd : TokenKind::kStatementEnd, "");
        return;
      }
      const char c = source_[position_];
      if (std::isspace(static_cast<unsigned char>(c))) {
        advance(1);
      } else if (is_name_start(c)) {
        std::size_t length = 1;
        while (is_name_char(peek(length))) ++length;
        put(TokenKind::kName, std::string(rest().substr(0, length)));
        advance(length);
      } else if (is_digit(c)) {
        number();
      } else if (c == '\'' || c == '"') {
        string(c);
      } else {
        operation(open);
      }
    }
    give_up(begin_line, "{{{} without end", type);
  }

  void number() {
    std::size_t length = 0;
    const auto digits = [&] {
      while (is_digit(peek(length)) || (peek(length) == '_' && is_digit(peek(length + 1))))
        ++length;
    };
    digits();
    bool is_float = false;
    const bool after_dot = !tokens_.empty() && tokens_.back().text == "." &&
                           tokens_.back().kind == TokenKind::kOperator;  // the 0 of a.0.b
    if (!after_dot && peek(length) == '.' && is_digit(peek(length + 1))) {
      is_float = true;
      ++length;
      digits();
    }
    if (!after_dot && (peek(length) == 'e' || peek(length) == 'E')) {
      const std::size_t sign = peek(length + 1) == '-' || peek(length + 1) == '+' ? 1 : 0;
      if (is_digit(peek(length + 1 + sign))) {
        is_float = true;
        length += 1 + sign;
        digits();
      }
    }
    std::string text(rest().substr(0, length));
    std::erase(text, '_');
    if (is_name_char(peek(length))) {
      give_up(line_, "number {}{} is not decimal", text, peek(length));
    }
    put(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance(length);
  }

  void operation(std::string& open) {
    constexpr std::array<std::string_view, 27> kOperators = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]",
        "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "!"};
    const auto found = std::ranges::find_if(
        kOperators, [&](std::string_view candidate) { return next_is(candidate); });
    if (found == kOperators.end() || *found == "!") {
      const Utf8Step step = decode_utf8(rest());
      give_up(line_, "unexpected character '{}'", rest().substr(0, step.length));
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) give_up(line_, "unexpected '{}'", c);
      open.pop_back();
    }
    put(TokenKind::kOperator, std::string(*found));
    advance(found->size());
  }

  void string(char quote) {
    std::size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) give_up(line_, "string without end");
    put(TokenKind::kString,
        unescaped(std::string_view(source_).substr(position_ + 1, end - position_ - 1)));
    advance(end + 1 - position_);
  }

  /// Python's unicode-escape decoding.
  std::string unescaped(std::string_view raw) const {
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];
      if (const std::size_t known = kLetters.find(c); known != std::string_view::npos) {
        out += kMeanings[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code_point(raw.substr(i + 1, digits), digits, 16, out);
        i += digits;
      } else if (c >= '0' && c <= '7') {
        std::size_t digits = 1;
        while (digits < 3 && i + digits < raw.size() && raw[i + digits] >= '0' &&
               raw[i + digits] <= '7') {
          ++digits;
        }
        append_code_point(raw.substr(i, digits), digits, 8, out);
        i += digits - 1;
      } else if (c == 'N') {
        give_up(line_, "\\N in a string is not implemented");
      } else if (c != '\n') {  // an unknown escape stays as it is
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void append_code_point(std::string_view digits, std::size_t count, int base,
                         std::string& out) const {
    std::uint32_t value = 0;
    for (const char digit : digits) {
      if (!std::isxdigit(static_cast<unsigned char>(digit))) count = 0;
      const int lower = std::tolower(static_cast<unsigned char>(digit));
      value = value * static_cast<std::uint32_t>(base) +
              static_cast<std::uint32_t>(is_digit(digit) ? digit - '0' : lower - 'a' + 10);
    }
    if (digits.size() != count || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      give_up(line_, "malformed escape \\{} in a string", digits);
    }
    append_utf8(out, value);
  }

  std::string source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace dsl::text::jinja
