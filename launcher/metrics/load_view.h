// A deployment's load for people, and as JSON.
#pragma once

#include <string>

#include "launcher/metrics/deployment_load.h"

namespace dsl::launcher {

std::string load_table(const DeploymentLoad& load);
std::string load_json(const DeploymentLoad& load, const std::string& deployment);

}  // namespace dsl::launcher
