// Token ids as users write them: integers separated by commas or white space, or a JSON list.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::launcher {

/// kInvalidArgument names the piece that is no token id. `origin` is what the message calls the
/// text.
Result<std::vector<std::int32_t>> parse_token_ids(std::string_view text, std::string_view origin);

/// Reads a whole file, or standard input for "-"; at most 64 MiB. kNotFound, kIo.
Result<std::string> read_text_file(const std::string& path);

}  // namespace dsl::launcher
