// How a Slurm job ended, told alike by status, up and the registry.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "slurm/job.h"
#include "slurm/node.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// True where Slurm ended the job and not the job itself: at its time limit, for another job. Slurm
/// signals the ranks too, so whatever the programs of the job say of their end is a consequence.
bool was_ended_by_slurm(slurm::JobState state);

/// True where a node of the job failed or did not boot.
bool was_ended_by_its_node(slurm::JobState state);

/// What helps then: to leave out those nodes of the job that are bad among `nodes`. Slurm's own
/// list of the job has only the healthy ones left while the job completes.
std::string remedy_without(const std::vector<std::string>& of_job,
                           const std::vector<slurm::Node>& nodes);

/// "FAILED (NonZeroExitCode), exit code 5": for a job that is over.
std::string describe_end(const slurm::Job& job);

/// Why a job that is over failed, with what to do about it; none when it ended as asked.
std::optional<Error> failure_of(const slurm::Job& job);

}  // namespace dsl::launcher
