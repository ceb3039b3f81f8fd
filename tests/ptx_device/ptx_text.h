// The pieces of PTX's text.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace dsl::test::ptx {

std::string_view trim(std::string_view text);

/// At the commas that stand in no brackets; each trimmed.
std::vector<std::string_view> split_operands(std::string_view text);

/// Decimal. Throws Fault for anything else.
[[noreturn]] void refuse_integer(std::string_view text);
template <typename T>
T parse_integer(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse_integer(text);
  return value;
}

/// Of an integer, or of a floating-point constant as PTX writes them in hexadecimal (0f..., 0d...).
/// False where it is neither.
bool parse_constant(std::string_view text, std::uint64_t& bits);

enum class PieceKind { kStatement, kLabel, kOpen, kClose };

/// Calls for what a body in braces consists of: statements and directives without their semicolon,
/// labels without their colon, braces of scopes.
void for_pieces(std::string_view body,
                const std::function<void(PieceKind kind, std::string_view text)>& take);

/// Behind the brace that closes the one at `open`.
std::size_t behind_braces(std::string_view text, std::size_t open);

}  // namespace dsl::test::ptx
