// Taking a replica out of service without a failed request.
#pragma once

#include <chrono>
#include <cstdint>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Tells the gateways, waits until they have heard, and then until the replica's running requests
/// have ended, at most `patience`. Returns how many still run: gateways continue those elsewhere
/// when the replica ends.
Result<std::int64_t> drain_replica(const DeploymentRecord& replica,
                                   std::chrono::milliseconds patience);

}  // namespace dsl::launcher
