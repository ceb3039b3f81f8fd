#include "launcher/cluster/slurm_job_end.h"

#include <algorithm>

#include "slurm/hostlist.h"
#include "slurm/time_limit.h"

namespace dsl::launcher {
namespace {

std::string remedy_for(const slurm::Job& job) {
  switch (job.state) {
    case slurm::JobState::kTimeout:
      return "bring it up again with a larger --time (-t)";
    case slurm::JobState::kPreempted:
      return "bring it up again, in a partition (-p) or QOS (-q) whose jobs are not preempted";
    case slurm::JobState::kNodeFail:
    case slurm::JobState::kBootFail:
      return "bring it up again, without the node that failed (-x): sinfo -R names it";
    case slurm::JobState::kOutOfMemory:
      return "bring it up again with more memory (--mem)";
    default:
      return fmt::format("see: dslaunch logs, or {}", job.std_out);
  }
}

}  // namespace

bool was_ended_by_its_node(slurm::JobState state) {
  return state == slurm::JobState::kNodeFail || state == slurm::JobState::kBootFail;
}

std::string remedy_without(const std::vector<std::string>& of_job,
                           const std::vector<slurm::Node>& nodes) {
  std::vector<std::string> bad;
  for (const slurm::Node& node : nodes) {
    const bool is_bad = node.state == slurm::NodeState::kDown ||
                        node.state == slurm::NodeState::kError || !node.responding;
    if (is_bad && std::find(of_job.begin(), of_job.end(), node.name) != of_job.end())
      bad.push_back(node.name);
  }
  if (!bad.empty()) {
    return fmt::format("bring it up again, without what is down: -x {}",
                       slurm::format_hostlist(bad));
  }
  return fmt::format("bring it up again; all of {} answer now, sinfo -R tells more",
                     slurm::format_hostlist(of_job));
}

bool was_ended_by_slurm(slurm::JobState state) {
  return state == slurm::JobState::kTimeout || state == slurm::JobState::kPreempted ||
         state == slurm::JobState::kDeadline;
}

std::string describe_end(const slurm::Job& job) {
  std::string text(slurm::job_state_name(job.state));
  if (job.reason != "None") text += fmt::format(" ({})", job.reason);
  if (job.exit_status != 0) text += fmt::format(", exit code {}", job.exit_status);
  if (job.exit_signal != 0) text += fmt::format(", signal {}", job.exit_signal);
  return text;
}

std::optional<Error> failure_of(const slurm::Job& job) {
  if (job.state == slurm::JobState::kCompleted || job.state == slurm::JobState::kCancelled) {
    return std::nullopt;
  }
  std::string message =
      job.state == slurm::JobState::kTimeout
          ? fmt::format("job {} reached its time limit of {}, and Slurm ended it: {}", job.id.value,
                        slurm::format_time_limit(job.time_limit), describe_end(job))
          : fmt::format("job {} ended: {}", job.id.value, describe_end(job));
  return Error{ErrorCode::kSlurmJobEnded, std::move(message), remedy_for(job)};
}

}  // namespace dsl::launcher
