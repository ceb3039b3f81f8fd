// What `up` starts and `render` shows: a request for each part of a specification.
#pragma once

#include <string>
#include <vector>

#include "launcher/cluster/allocator.h"
#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The parts of `spec`: its replicas, and the services where it asks for any. An empty launch id
/// makes parts that stand on their own (render, sbatch by hand).
Result<std::vector<LaunchRequest>> make_launch_requests(const DeploymentSpec& spec,
                                                        const std::string& launch_id);

/// Whether the programs of the services are there. Looked for before anything starts: a controller
/// that cannot start its services takes everything down again, on Slurm after a wait in the queue.
Status check_programs(const DeploymentSpec& spec);

}  // namespace dsl::launcher
