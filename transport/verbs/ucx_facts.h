// What the installed UCX can do on this machine.
#pragma once

#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::verbs {

struct UcxFacts {
  std::string version;                    // "1.13.1"
  std::vector<std::string> transports;    // "tcp/eth0", "posix/memory", "rc_verbs/rxe0:1"
  std::vector<std::string> memory_types;  // "host", "cuda"
};

/// kTransportUnavailable when this build lacks UCX, kTransport when UCX cannot be asked.
Result<UcxFacts> query_ucx();

}  // namespace dsl::verbs
