// Where the logs of a deployment lie: supervisor.log and rank-N.log.
#pragma once

#include <filesystem>
#include <string>

#include "transport/base/error.h"

namespace dsl::launcher {

/// state_folder()/logs/NAME.
Result<std::filesystem::path> log_folder(const std::string& name);
/// Makes it, 0700.
Result<std::filesystem::path> make_log_folder(const std::string& name);
/// Makes it and removes the logs of an earlier launch.
Result<std::filesystem::path> clear_log_folder(const std::string& name);

inline constexpr const char* kSupervisorLog = "supervisor.log";
std::string rank_log_name(int rank);

}  // namespace dsl::launcher
