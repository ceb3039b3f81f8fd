// What `up` says of a part whose job waits in the queue.
#pragma once

#include <optional>
#include <string>

#include "launcher/commands/deployment_launch.h"
#include "launcher/deployment/spec.h"

namespace dsl::launcher {

/// "waits for nodes: Resources: …, expected to start …": short enough for a line that is redrawn.
std::string waiting_text(const LaunchProgress& progress);

/// What the user can do about services that find no room on the cluster, whether the engine is up
/// meanwhile included; none when the job waits for something else.
std::optional<std::string> room_hint(const DeploymentSpec& spec, const LaunchProgress& progress);

}  // namespace dsl::launcher
