// The agent of a node: runs that node's ranks under srun and tells their ends on standard output.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct AgentOptions {
  DeploymentSpec spec;
  std::string rendezvous;  // "host:port" of the supervisor
  std::string placement;   // of all nodes (plan/world_plan.h)
  std::filesystem::path log_folder;
};

/// Blocks until all ranks of this node ($SLURMD_NODENAME, else the host name) have ended. SIGTERM
/// ends them in good order, then by force. Call from the main thread, before other threads exist.
Status run_agent(const AgentOptions& options);

}  // namespace dsl::launcher
