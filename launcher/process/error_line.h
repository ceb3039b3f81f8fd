// Error lines of other programs of ours, read back into errors.
#pragma once

#include <optional>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Finds "DSL-nnn Name: message. Remedy: remedy" (Error::to_string) in a line, whatever stands
/// before it.
std::optional<Error> parse_error_line(std::string_view line);

}  // namespace dsl::launcher
