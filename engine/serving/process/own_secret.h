// The deployment's secret as a process gets it: in its environment.
#pragma once

#include <string>

namespace dsl::serving {

/// DSLAUNCH_SECRET, which is removed from the environment so that neither children nor readers of
/// /proc/PID/environ have it; empty when it is not set. Call it before there are other threads.
std::string take_secret();

}  // namespace dsl::serving
