// White space as Python's str methods see it.
#pragma once

#include <cstddef>
#include <string_view>

namespace dsl::text::jinja {

/// str.isspace() of a character.
bool is_space(char32_t character);
/// Bytes of white space at the start and at the end of valid UTF-8.
std::size_t leading_space(std::string_view utf8);
std::size_t trailing_space(std::string_view utf8);

}  // namespace dsl::text::jinja
