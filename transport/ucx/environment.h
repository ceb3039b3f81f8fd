// The UCX variables that this project sets unless the user has set them.
#pragma once

#include <string>

namespace dsl::ucx {

/// Sets variables that UCX reads from the environment only. Once per process, before the first UCX
/// context; as setenv, it must not run beside threads that read the environment.
void prepare_environment();

/// What UCX_TLS must be for links inside a host and to other hosts, given the user's UCX_TLS (""
/// when unset). `host` is empty when the user allows no shared memory: all links then go through
/// the network worker.
struct TransportLists {
  std::string host;
  std::string network;  // empty: UCX's default
};
TransportLists split_transports(const std::string& user_list);

}  // namespace dsl::ucx
