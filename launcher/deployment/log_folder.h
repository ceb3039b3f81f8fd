// Where the logs of a deployment lie: supervisor.log and rank-N.log.
#pragma once

#include <filesystem>
#include <string>

#include "transport/base/error.h"

namespace dsl::launcher {

/// state_folder()/logs/NAME; `make_log_folder` makes it, 0700, and removes the logs of an earlier
/// launch.
Result<std::filesystem::path> log_folder(const std::string& name);
Result<std::filesystem::path> make_log_folder(const std::string& name);

inline constexpr const char* kSupervisorLog = "supervisor.log";
std::string rank_log_name(int rank);

}  // namespace dsl::launcher
