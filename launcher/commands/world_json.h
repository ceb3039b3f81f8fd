// The world as commands print it in JSON.
#pragma once

#include <string>
#include <vector>

#include "launcher/deployment/record.h"

namespace dsl::launcher {

/// {"tp":2,"pp":2,"ranks":4,"links":[{"rank":0,"peer":1,"transport":"shm","device":"memory"},…],
/// "paths":[{"rank":0,"hops":"host","tensor_sums":"host"},…]}
std::string world_json(int tp, int pp, const std::vector<LinkRecord>& links,
                       const std::vector<PathRecord>& paths);

}  // namespace dsl::launcher
