// The files of the status page, which are part of the program.
#pragma once

#include <optional>
#include <string_view>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

inline constexpr std::string_view kStatusPage = "/status";
inline constexpr std::string_view kStatusStyle = "/status/status.css";
inline constexpr std::string_view kStatusScript = "/status/status.js";
inline constexpr std::string_view kStatusData = "/status/data";

/// The file of one of the first three targets.
std::optional<HttpResponse> status_page_file(std::string_view target);
/// The answer at kStatusData.
HttpResponse status_data(std::string json);

}  // namespace dsl::serving
