// Where the logs of a deployment lie: supervisor.log and rank-N.log of each replica, control.log
// and one log per service.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// state_folder()/logs/NAME: the logs of the first replica and of the services.
Result<std::filesystem::path> log_folder(const std::string& name);
/// The same, or its folder replica-N for a further replica.
Result<std::filesystem::path> log_folder(const DeploymentRecord& part);
/// Makes it, 0700.
Result<std::filesystem::path> make_log_folder(const DeploymentRecord& part);
/// Makes it and sets the logs aside that an earlier launch of the same part has left, but not the
/// one that this process writes to: "rank-0.log" is "rank-0.log.1" then, instead of the one before.
Result<std::filesystem::path> begin_log_folder(const DeploymentRecord& part);
/// Gives the file that this process writes its log to a name in the folder, if it has none there:
/// sbatch may put it anywhere.
Status link_own_log(const DeploymentRecord& part);

/// The log of the part's own program.
std::string part_log_name(const DeploymentRecord& part);
std::string rank_log_name(int rank);
/// Where a log goes that makes room for the next one.
std::filesystem::path aside(const std::filesystem::path& log);

}  // namespace dsl::launcher
