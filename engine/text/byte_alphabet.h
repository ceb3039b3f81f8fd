// GPT-2's printable spelling of bytes, in which byte-level vocabularies are written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsl::text {

/// The one-character spelling of a byte, e.g. "Ġ" for a space.
std::string spell_byte(std::uint8_t byte);

/// The bytes that a spelling stands for; nothing when a character is not of the alphabet.
std::optional<std::string> spelled_bytes(std::string_view spelling);

}  // namespace dsl::text
