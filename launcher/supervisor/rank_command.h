// The command line of a rank and of an agent (docs/process-contract.md).
#pragma once

#include <string>
#include <vector>

#include "launcher/deployment/spec.h"
#include "launcher/plan/world_plan.h"
#include "launcher/supervisor/rank_group.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The `dsengine` command lines of the ranks of one node, bound to their shares of this process's
/// cores. `rendezvous` is the supervisor's "host:port".
Result<std::vector<RankCommand>> rank_commands(const DeploymentSpec& spec, const NodePlan& node,
                                               const std::string& rendezvous);

/// The `dslaunch agent` command line for all nodes of `plan`; an agent finds its part by the node's
/// name.
Result<std::vector<std::string>> agent_command(const DeploymentSpec& spec, const WorldPlan& plan,
                                               const std::string& rendezvous,
                                               const std::string& log_folder);

}  // namespace dsl::launcher
