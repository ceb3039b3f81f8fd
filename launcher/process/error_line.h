// Error lines of other programs of ours, read back into errors.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Finds "DSL-nnn Name: message. Remedy: remedy" (Error::to_string) in a line, whatever stands
/// before it.
std::optional<Error> parse_error_line(std::string_view line);

/// The last such line near the end of a log; none when there is no log.
std::optional<Error> last_error_line(const std::filesystem::path& log);

}  // namespace dsl::launcher
