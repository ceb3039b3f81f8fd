#include "transport/ucx/lanes.h"

#include <sstream>

namespace dsl::ucx {
namespace {

/// "3:sysv/memory.0" -> sysv, memory. The number after the last dot is UCX's path index.
std::optional<LaneChoice> parse_resource(std::string_view text) {
  const auto colon = text.find(':');
  const auto slash = text.find('/');
  const auto dot = text.rfind('.');
  if (colon == std::string_view::npos || slash == std::string_view::npos ||
      dot == std::string_view::npos || colon > slash || slash > dot) {
    return std::nullopt;
  }
  std::string transport(text.substr(colon + 1, slash - colon - 1));
  if (transport == "posix" || transport == "sysv" || transport == "xpmem") {
    transport = "shm(" + transport + ")";
  }
  return LaneChoice{std::move(transport), std::string(text.substr(slash + 1, dot - slash - 1))};
}

}  // namespace

std::optional<LaneChoice> parse_lanes(std::string_view endpoint_info) {
  std::istringstream lines{std::string(endpoint_info)};
  for (std::string line; std::getline(lines, line);) {
    const auto lane = line.find("lane[");
    if (lane == std::string::npos) continue;
    std::istringstream words(line.substr(lane));
    std::string word;
    std::string resource;
    words >> word >> resource;
    bool messages = false;
    while (words >> word) messages = messages || word == "am";
    if (messages) return parse_resource(resource);
  }
  return std::nullopt;
}

bool is_rdma(std::string_view transport) {
  return transport.starts_with("rc_") || transport.starts_with("dc_") ||
         transport.starts_with("ud_");
}

bool fulfils(std::string_view transport, std::string_view required) {
  if (required == "rdma") return is_rdma(transport);
  if (required == "shm") return transport.starts_with("shm(");
  return transport == required;
}

}  // namespace dsl::ucx
