#include "launcher/deployment/gateway_address.h"

#include <charconv>

namespace dsl::launcher {

std::string bracketed(const std::string& host) {
  const bool is_ipv6 = host.find(':') != std::string::npos && !host.starts_with('[');
  return is_ipv6 ? "[" + host + "]" : host;
}

Result<std::string> gateway_address(const DeploymentSpec& spec, const std::string& host, int index,
                                    ErrorCode code) {
  const std::string& asked = spec.gateway_listen;
  if (asked.starts_with("unix:")) return index == 0 ? asked : fmt::format("{}.{}", asked, index);
  if (asked.empty()) return bracketed(host) + ":0";
  const std::size_t colon = asked.rfind(':');
  if (colon == std::string::npos || asked.ends_with(']')) return asked + ":0";
  const char* begin = asked.data() + colon + 1;
  const char* end = asked.data() + asked.size();
  int port = 0;
  const auto [rest, problem] = std::from_chars(begin, end, port);
  if (problem != std::errc() || rest != end || port < 0 || port + index > 65535) {
    return fail(code, "write HOST, HOST:PORT or unix:PATH",
                "gateway.listen: \"{}\" has no port for gateway {}", asked, index);
  }
  return fmt::format("{}:{}", asked.substr(0, colon), port == 0 ? 0 : port + index);
}

}  // namespace dsl::launcher
