// Which transport an endpoint really uses, from the text that UCX prints about it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dsl::ucx {

struct LaneChoice {
  std::string transport;  // "shm(sysv)", "tcp", "rc_verbs"
  std::string device;     // "memory", "eth0", "rxe0:1"
};

/// The lane that carries messages ("am") in the output of ucp_ep_print_info; nullopt when there is
/// none.
std::optional<LaneChoice> parse_lanes(std::string_view endpoint_info);

/// True for transports that are RDMA: rc_*, dc_*, ud_*.
bool is_rdma(std::string_view transport);

/// True when `transport` fulfils a requirement: its name, "rdma" or "shm".
bool fulfils(std::string_view transport, std::string_view required);

}  // namespace dsl::ucx
