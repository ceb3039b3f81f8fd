#include "transport/ucx/environment.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string_view>
#include <vector>

#include "transport/verbs/rdma_devices.h"

namespace dsl::ucx {
namespace {

constexpr std::string_view kHostTransports = "posix,sysv,cma,self";
constexpr std::array<std::string_view, 9> kHostNames = {"shm", "mm",    "sm",   "posix", "sysv",
                                                        "cma", "xpmem", "knem", "self"};

void set_default(const char* name, const char* value) { ::setenv(name, value, 0); }

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::stringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

bool is_host_name(std::string_view name) {
  return std::find(kHostNames.begin(), kHostNames.end(), name) != kHostNames.end();
}

/// A list that names what is not allowed: the host list loses the names that stand in it.
TransportLists exclude(const std::string& user_list) {
  const std::vector<std::string> excluded = split(user_list.substr(1));
  std::string host;
  for (const std::string& name : split(std::string(kHostTransports))) {
    if (std::find(excluded.begin(), excluded.end(), name) == excluded.end()) host += name + ",";
  }
  const bool no_memory =
      host.find("posix") == std::string::npos && host.find("sysv") == std::string::npos;
  const bool no_shm = std::find(excluded.begin(), excluded.end(), "shm") != excluded.end();
  if (no_memory || no_shm) host.clear();
  if (!host.empty()) host.pop_back();
  return {host, user_list};
}

}  // namespace

void prepare_environment() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Without these, links with peer-failure detection silently use tcp where shared memory would
    // do.
    set_default("UCX_POSIX_ERROR_HANDLING", "y");
    set_default("UCX_SYSV_ERROR_HANDLING", "y");
    const auto devices = verbs::list_rdma_devices();
    const bool soft = devices && std::any_of(devices->begin(), devices->end(),
                                             [](const auto& device) { return device.software; });
    if (!soft) return;
    // Soft-RoCE: ud_verbs drops all packets with the check on, and 7 retries mean infinity there.
    set_default("UCX_UD_VERBS_ETH_DGID_CHECK", "n");
    set_default("UCX_RC_VERBS_RETRY_COUNT", "3");
    set_default("UCX_RC_VERBS_TIMEOUT", "100ms");
    set_default("UCX_UD_VERBS_TIMEOUT", "5s");
    set_default("UCX_KEEPALIVE_INTERVAL", "1s");
  });
}

TransportLists split_transports(const std::string& user_list) {
  if (user_list.empty() || user_list == "all") return {std::string(kHostTransports), user_list};
  if (user_list.front() == '^') return exclude(user_list);
  TransportLists lists{"", user_list};
  bool has_memory = false;
  for (const std::string& name : split(user_list)) {
    if (!is_host_name(name)) continue;
    has_memory = has_memory || (name != "self" && name != "cma");
    lists.host += (lists.host.empty() ? "" : ",") + name;
  }
  if (!has_memory) lists.host.clear();
  return lists;
}

}  // namespace dsl::ucx
