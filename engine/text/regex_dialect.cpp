#include "engine/text/regex_dialect.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "engine/text/unicode_delta.h"

namespace dsl::text {
namespace {

// Unicode White_Space. PCRE2's own \s also has U+180E.
constexpr std::string_view kWhiteSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"
    "205f}"
    "\\x{3000}";
constexpr std::string_view kNotWhiteSpace =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{"
    "10ffff}";

// Categories that only grew since Unicode 14. Mn lost a code point to Mc, and Cn lost all new ones,
// so these are out.
constexpr std::array<std::string_view, 27> kCategories = {
    "L",  "M",  "N",  "P",  "S",  "Z",  "Lu", "Ll", "Lt", "Lm", "Lo", "Me", "Nd", "Nl",
    "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs"};

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

class Translator {
 public:
  Translator(std::string_view pattern, ClassMembers members)
      : pattern_(pattern), members_(members) {}

  Result<std::string> run() {
    // Searching for \s+$ tries every suffix of a run of white space in vain when something else
    // follows: quadratic. A match always begins where the run does, because $ does not care about
    // the beginning.
    if (pattern_ == "\\s+$") out_ = "(?<!" + char_class(kWhiteSpace) + ")";
    while (position_ < pattern_.size()) {
      DSL_TRY(in_class_ ? class_item() : item());
    }
    if (in_class_) return unsupported("[", "a character class without end");
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> unsupported(std::string_view construct, std::string_view what) const {
    return fail(ErrorCode::kTokenizerUnsupported,
                "use a tokenizer whose patterns keep to plain classes, groups and quantifiers",
                "regex construct \"{}\" ({}) at byte {} of pattern \"{}\"", construct, what,
                position_, pattern_);
  }

  static std::string char_class(std::string_view class_members) {
    return "[" + std::string(class_members) + "]";
  }

  bool next_is(std::string_view text) const { return pattern_.substr(position_).starts_with(text); }
  void copy(std::size_t length) {
    out_ += pattern_.substr(position_, length);
    position_ += length;
  }

  Status item() {
    const char c = pattern_[position_];
    if (c == '\\') return escape();
    if (c == '(') return group();
    if (c == '{') return braces();
    if (c == '[') {
      copy(1);
      if (next_is("^")) copy(1);
      if (next_is("]")) return unsupported("[]", "an empty class");
      in_class_ = true;
      return {};
    }
    copy(1);
    return {};
  }

  Status group() {
    constexpr std::string_view kKnown[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"};
    if (!next_is("(?") && !next_is("(*")) {
      copy(1);
      return {};
    }
    for (const std::string_view known : kKnown) {
      if (next_is(known)) {
        copy(known.size());
        return {};
      }
    }
    return unsupported(pattern_.substr(position_, 3), "a group of an unknown kind");
  }

  Status braces() {
    const std::size_t end = pattern_.find('}', position_);
    const std::string_view body =
        pattern_.substr(position_ + 1, end == std::string_view::npos ? 0 : end - position_ - 1);
    const bool is_repeat = !body.empty() && body.size() <= 9 && body[0] != ',' &&
                           std::ranges::count(body, ',') <= 1 &&
                           body.find_first_not_of("0123456789,") == std::string_view::npos;
    if (!is_repeat) return unsupported("{", "braces that are no {n}, {n,} or {n,m}");
    copy(body.size() + 2);
    // Possessive in PCRE2, a repeat of the repeat in Ruby syntax.
    if (next_is("+")) return unsupported("}+", "a quantifier on a quantifier");
    return {};
  }

  Status class_item() {
    if (next_is("&&")) return unsupported("&&", "an intersection of classes");
    switch (pattern_[position_]) {
      case '[':
        return unsupported("[", "a class within a class");
      case '\\':
        return escape();
      case ']':
        in_class_ = false;
        [[fallthrough]];
      default:
        copy(1);
        return {};
    }
  }

  /// Writes the members of a class, in brackets unless already within some.
  void put_class(std::string_view class_members) {
    out_ += in_class_ ? std::string(class_members) : char_class(class_members);
  }

  Status escape() {
    if (position_ + 1 == pattern_.size()) return unsupported("\\", "at the end");
    const char c = pattern_[position_ + 1];
    const std::string_view construct = pattern_.substr(position_, 2);
    switch (c) {
      case 'p':
      case 'P':
        return category();
      case 'x':
      case 'u':
        return code_point();
      case 's':
        put_class(kWhiteSpace);
        break;
      case 'S':
        put_class(kNotWhiteSpace);
        break;
      case 'd':
        put_class(category_members("Nd"));
        break;
      case 'v':  // PCRE2's \v is a class
        out_ += "\\x{b}";
        break;
      case 'r':
      case 'n':
      case 't':
      case 'f':
        out_ += construct;
        break;
      default:
        if (is_alphanumeric(c)) return unsupported(construct, "an escape of unknown meaning");
        out_ += construct;
    }
    position_ += 2;
    return {};
  }

  std::string category_members(std::string_view name) const {
    std::string result = "\\p{" + std::string(name) + "}";
    if (members_ == ClassMembers::kReference) result += newer_code_points(name);
    return result;
  }

  Status category() {
    const bool negated = pattern_[position_ + 1] == 'P';
    const std::size_t end = pattern_.find('}', position_);
    const std::string_view construct = pattern_.substr(
        position_, end == std::string_view::npos ? std::string_view::npos : end + 1 - position_);
    const std::string_view name = construct.size() > 4 && construct[2] == '{'
                                      ? construct.substr(3, construct.size() - 4)
                                      : std::string_view();
    if (std::ranges::find(kCategories, name) == kCategories.end()) {
      return unsupported(construct.substr(0, 24), "not a general category that can be matched");
    }
    if (negated && in_class_) return unsupported(construct, "a negation within a class");
    if (negated) {
      out_ += "[^" + category_members(name) + "]";
    } else {
      put_class(category_members(name));
    }
    position_ += construct.size();
    return {};
  }

  /// \x{H...} and \uHHHH.
  Status code_point() {
    const bool braced = pattern_.substr(position_ + 1).starts_with("x{");
    const std::size_t begin = position_ + (braced ? 3 : 2);
    std::size_t end = begin;
    while (end < pattern_.size() && std::isxdigit(static_cast<unsigned char>(pattern_[end])) &&
           (braced || end < begin + 4)) {
      ++end;
    }
    const std::size_t digits = end - begin;
    const bool closed = braced ? end < pattern_.size() && pattern_[end] == '}'
                               : pattern_[position_ + 1] == 'u' && digits == 4;
    if (!closed || digits == 0 || digits > 6) {
      return unsupported(pattern_.substr(position_, 2), "not of the form \\x{H} or \\uHHHH");
    }
    out_ += "\\x{" + std::string(pattern_.substr(begin, digits)) + "}";
    position_ = end + (braced ? 1 : 0);
    return {};
  }

  std::string_view pattern_;
  ClassMembers members_;
  std::size_t position_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> translate_regex(std::string_view pattern, ClassMembers members) {
  return Translator(pattern, members).run();
}

}  // namespace dsl::text
