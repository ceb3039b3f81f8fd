#include "tests/ptx_device/ptx_text.h"

#include <fmt/format.h>

#include <string>

#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

/// Behind white space and comments from `at` on.
std::size_t skip_space(std::string_view text, std::size_t at) {
  while (true) {
    at = text.find_first_not_of(kSpace, at);
    if (at == std::string_view::npos) return text.size();
    if (text.substr(at, 2) != "//") return at;
    at = text.find('\n', at);
    if (at == std::string_view::npos) return text.size();
  }
}

bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '%';
}

}  // namespace

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> split_operands(std::string_view text) {
  std::vector<std::string_view> operands;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i == text.size() ? ',' : text[i];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != ',' || depth != 0) continue;
    const std::string_view operand = trim(text.substr(begin, i - begin));
    if (!operand.empty()) operands.push_back(operand);
    begin = i + 1;
  }
  return operands;
}

void refuse_integer(std::string_view text) { throw Fault(fmt::format("'{}' is no integer", text)); }

bool parse_constant(std::string_view text, std::uint64_t& bits) {
  constexpr int kHexadecimal = 16;
  const bool is_negative = text.starts_with('-');
  std::string_view digits = text.substr(is_negative ? 1 : 0);
  int base = 10;
  for (const std::string_view prefix : {"0f", "0F", "0d", "0D", "0x", "0X"}) {
    if (!digits.starts_with(prefix)) continue;
    digits.remove_prefix(prefix.size());
    base = kHexadecimal;
    break;
  }
  if (digits.empty()) return false;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), bits, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  if (is_negative) bits = ~bits + 1;
  return true;
}

void for_pieces(std::string_view body,
                const std::function<void(PieceKind kind, std::string_view text)>& take) {
  for (std::size_t at = skip_space(body, 0); at < body.size(); at = skip_space(body, at)) {
    if (body[at] == '{' || body[at] == '}') {
      take(body[at] == '{' ? PieceKind::kOpen : PieceKind::kClose, body.substr(at, 1));
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < body.size() && is_name(body[end])) ++end;
    if (end > at && end < body.size() && body[end] == ':') {
      take(PieceKind::kLabel, body.substr(at, end - at));
      at = end + 1;
      continue;
    }
    end = body.find(';', at);
    if (end == std::string_view::npos)
      throw Fault(fmt::format("no semicolon behind '{}'", body.substr(at, 40)));
    take(PieceKind::kStatement, trim(body.substr(at, end - at)));
    at = end + 1;
  }
}

std::size_t behind_braces(std::string_view text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return i + 1;
  }
  throw Fault("a brace that nothing closes");
}

}  // namespace dsl::test::ptx
