// Writes JSON straight into text: the way of every token of every stream.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace dsl::serving {

/// Appends a JSON string. What is not valid UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);
/// Appends a finite number so that a float is read back exactly.
void append_json_number(std::string& out, float number);
void append_json_integer(std::string& out, std::int64_t number);
void append_json_integers(std::string& out, std::span<const std::int32_t> numbers);

}  // namespace dsl::serving
