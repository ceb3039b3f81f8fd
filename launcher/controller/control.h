// The controller of a deployment: holds its gateways and text services at the wanted numbers and
// tells them of each other and of the replicas.
#pragma once

#include <string>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct ControlOptions {
  DeploymentSpec spec;
  std::string launch_id;
};

/// Blocks until it is told to end (SIGTERM, SIGINT, SIGHUP) or the last replica of the launch has
/// gone; services are drained then. The error of a service that never became ready, kept in the
/// record, otherwise. $DSLAUNCH_SECRET must be set. Call from the main thread, before other threads
/// exist.
Status control(const ControlOptions& options);

}  // namespace dsl::launcher
