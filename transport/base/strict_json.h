// The one way untrusted JSON text becomes a value: bounded depth, no duplicate keys, no exceptions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "transport/base/error.h"

namespace dsl {

/// Deeper nesting than any document of this program has is refused.
inline constexpr int kMaxJsonDepth = 64;

/// Parses one complete JSON text. `origin` (a path, a peer) starts the message of an error, which
/// has `code` and says at which byte and why.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view origin, ErrorCode code);

}  // namespace dsl
