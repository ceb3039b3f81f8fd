#include "launcher/openai_client/sse_parser.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxEventBytes = 16 << 20;
constexpr std::string_view kData = "data:";

}  // namespace

SseParser::SseParser() : lines_(kMaxEventBytes) {}

void SseParser::feed(std::string_view bytes,
                     const std::function<void(std::string_view data)>& on_data) {
  // The interface writes each event as one data line.
  lines_.feed(bytes, [&](std::string_view line) {
    if (!line.starts_with(kData)) return;
    line.remove_prefix(kData.size());
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    on_data(line);
  });
}

}  // namespace dsl::launcher
