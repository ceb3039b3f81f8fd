// A part of a deployment as a Slurm job: sbatch's own options, a supervisor or the controller in
// the batch step, room for one agent per node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/cluster/allocator.h"
#include "slurm/job_spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Cores of the job of the services: a gateway is one busy thread, text services are short.
inline constexpr std::uint16_t kServiceCpus = 2;

/// What the job gets from the machine where the user types.
struct JobSurroundings {
  std::string work_dir;                  // absolute
  std::vector<std::string> environment;  // "NAME=value"
};

/// The whole job with its script. kInvalidArgument names the flag that is malformed.
Result<slurm::JobSpec> to_job_spec(const LaunchRequest& request,
                                   const JobSurroundings& surroundings);

/// This process's environment for a job: without the variables that describe an allocation this
/// process may itself run in, with the secret of the launch.
std::vector<std::string> job_environment(const std::string& secret);

}  // namespace dsl::launcher
