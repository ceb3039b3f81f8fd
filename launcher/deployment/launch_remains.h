// What a launch leaves beside its records: its secret and its folder.
#pragma once

#include <functional>

#include "launcher/deployment/registry.h"

namespace dsl::launcher {

/// Removes both.
Status remove_remains(const DeploymentRecord& part);

/// The same unless the registry still knows another part of the launch: for a part that ends by
/// itself. A failed part counts, because `status` shows it until `down`; so does `part` itself when
/// the registry knows better than its own good order: Slurm has ended its job at the time limit.
Status remove_remains_if_last(Registry& registry, const DeploymentRecord& part);

/// Both of every launch that has certainly ended without anybody left to remove them: SIGKILL takes
/// a supervisor, and scancel a job, before they can. `registry_of` gives the registry of a cluster,
/// or null; what no registry can tell stays.
Status sweep_remains(const std::function<Registry*(ClusterKind)>& registry_of);

}  // namespace dsl::launcher
