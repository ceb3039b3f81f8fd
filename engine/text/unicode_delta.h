// Code points whose category the reference tokenizer's Unicode version knows and the regex
// library's may not.
#pragma once

#include <string>
#include <string_view>

namespace dsl::text {

/// A class member list such as "\x{897}\x{11F50}-\x{11F59}" of the code points that are newer than
/// Unicode 14 and whose general category starts with `category` ("L", "Nd"). Empty when there is
/// none.
std::string newer_code_points(std::string_view category);

/// True when a valid UTF-8 text holds any such code point, of any category. Fast: rare pages are
/// looked up.
bool has_newer_code_point(std::string_view utf8);

}  // namespace dsl::text
