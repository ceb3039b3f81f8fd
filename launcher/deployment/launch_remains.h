// What a launch leaves beside its records: its secret and its folder.
#pragma once

#include "launcher/deployment/registry.h"

namespace dsl::launcher {

/// Removes both.
Status remove_remains(const DeploymentRecord& part);

/// The same unless the registry still knows another part of the launch: for a part that ends by
/// itself. A failed part counts, because `status` shows it until `down`.
Status remove_remains_if_last(Registry& registry, const DeploymentRecord& part);

}  // namespace dsl::launcher
