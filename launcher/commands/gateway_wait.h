// What `up` waits for last: gateways that know the replicas, so that a client's first request is
// answered by any of them.
#pragma once

#include <vector>

#include "launcher/deployment/record.h"
#include "launcher/process/cancellation.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Waits until every ready gateway of the deployment with these parts sees all of its ready
/// replicas. kUnreachable where one sees none in time; one that sees some only is a warning.
/// Nothing to wait for without gateways.
Status wait_for_gateways(const std::vector<DeploymentRecord>& parts, Cancellation& cancellation);

}  // namespace dsl::launcher
