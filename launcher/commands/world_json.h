// The world as commands print it in JSON.
#pragma once

#include <string>
#include <vector>

#include "launcher/deployment/record.h"

namespace dsl::launcher {

/// {"tp":2,"pp":2,"ranks":4,"links":[{"rank":0,"peer":1,"transport":"shm","device":"memory"},…]}
std::string world_json(int tp, int pp, const std::vector<LinkRecord>& links);

}  // namespace dsl::launcher
