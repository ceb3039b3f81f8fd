// The supervisor of a replica: keeps its world and its record until it is told to end or a rank
// fails.
#pragma once

#include <string>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct SuperviseOptions {
  DeploymentSpec spec;
  int replica = 0;
  std::string launch_id;  // of the record that `up` made; empty: the supervisor makes its own
                          // (sbatch by hand)
};

/// Blocks until the world has ended. Ok after SIGTERM, SIGINT or SIGHUP, with the record removed;
/// the error of a failed rank otherwise, kept in the record. Secrets: $DSLAUNCH_SECRET, else a
/// fresh one in the SecretStore. Call from the main thread, before other threads exist.
Status supervise(const SuperviseOptions& options);

}  // namespace dsl::launcher
