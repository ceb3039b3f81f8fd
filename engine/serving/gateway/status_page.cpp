#include "engine/serving/gateway/status_page.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/serving/gateway/status_files.h"

namespace dsl::serving {
namespace {

struct File {
  std::string_view target;
  std::string_view content_type;
  std::string_view cache_control;
  std::string_view body;
};

/// The page names the other two with a hash of their content, so only the page can become old.
constexpr std::string_view kForever = "public, max-age=31536000, immutable";

/// Nothing from elsewhere, nothing inline, in nobody's frame.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

HttpResponse response(std::string_view content_type, std::string_view cache_control,
                      std::string body) {
  return {200,
          std::string(content_type),
          std::move(body),
          nullptr,
          {{"Cache-Control", std::string(cache_control)},
           {"Content-Security-Policy", std::string(kContentSecurityPolicy)},
           {"X-Content-Type-Options", "nosniff"},
           {"Referrer-Policy", "no-referrer"}}};
}

}  // namespace

std::optional<HttpResponse> status_page_file(std::string_view target) {
  static const File kFiles[] = {
      {kStatusPage, "text/html; charset=utf-8", "no-cache", status_files::html()},
      {kStatusStyle, "text/css; charset=utf-8", kForever, status_files::css()},
      {kStatusScript, "text/javascript; charset=utf-8", kForever, status_files::js()},
  };
  const auto* file = std::find_if(std::begin(kFiles), std::end(kFiles),
                                  [&](const File& other) { return other.target == target; });
  if (file == std::end(kFiles)) return std::nullopt;
  return response(file->content_type, file->cache_control, std::string(file->body));
}

HttpResponse status_data(std::string json) {
  return response("application/json", "no-store", std::move(json));
}

}  // namespace dsl::serving
