// The head of an answer as bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

/// Without `content_length` the body is chunked.
std::string response_head(const HttpResponse& response, std::optional<std::size_t> content_length,
                          bool keeps_alive);
/// Makes `bytes`, which must not be empty, a chunk of a chunked body.
void frame_chunk(std::string& bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace dsl::serving
