#include "slurm/job.h"

#include <fmt/chrono.h>

#include <array>

#include "slurm/client.h"

namespace dsl::slurm {
namespace {

struct Explanation {
  std::string_view reason;
  std::string_view text;
};

// Slurm's words for why a job is pending, in the order users meet them.
constexpr std::array kExplanations = std::to_array<Explanation>({
    {"None", "the scheduler has not looked at the job yet"},
    {"Priority", "jobs of higher priority wait before it"},
    {"Resources", "the nodes it asks for are in use"},
    {"Dependency", "it waits for other jobs (--dependency)"},
    {"BeginTime", "its begin time (--begin) is in the future"},
    {"JobHeldUser", "its owner holds it: scontrol release JOBID"},
    {"JobHeldAdmin", "an administrator holds it"},
    {"JobHoldMaxRequeue",
     "it was requeued too often; look at the log, then scontrol release JOBID"},
    {"launch_failed_requeued_held",
     "its start failed on a node and it is held: see the prolog's log, then scontrol release "
     "JOBID"},
    {"PartitionDown", "the partition is down: choose another (-p)"},
    {"PartitionInactive", "the partition does not start jobs: choose another (-p)"},
    {"PartitionNodeLimit", "it asks for more nodes (-N) than the partition allows"},
    {"PartitionTimeLimit", "its time limit (-t) exceeds the partition's"},
    {"ReqNodeNotAvail", "nodes it names (-w) are down, drained or reserved"},
    {"NodeDown", "a node it needs is down"},
    {"BadConstraints", "no node has the features it asks for (-C)"},
    {"Reservation", "it waits for its reservation to begin"},
    {"InvalidAccount", "the account (-A) is not valid"},
    {"InvalidQOS", "the QOS (-q) is not valid"},
    {"AssociationJobLimit", "the account runs as many jobs as it may"},
    {"QOSJobLimit", "the QOS runs as many jobs as it may"},
    {"QOSMaxCpuPerUserLimit", "the QOS gives no more CPUs to this user"},
    {"QOSMaxGRESPerUser", "the QOS gives no more GPUs to this user"},
    {"AssocGrpGRES", "the account uses as many GPUs as it may"},
    {"Licenses", "a licence is not available"},
    {"Prolog", "the prolog is running on its nodes"},
});

}  // namespace

std::string_view job_state_name(JobState state) {
  switch (state) {
    case JobState::kPending:
      return "PENDING";
    case JobState::kConfiguring:
      return "CONFIGURING";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kSuspended:
      return "SUSPENDED";
    case JobState::kCompleted:
      return "COMPLETED";
    case JobState::kCancelled:
      return "CANCELLED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kTimeout:
      return "TIMEOUT";
    case JobState::kNodeFail:
      return "NODE_FAIL";
    case JobState::kPreempted:
      return "PREEMPTED";
    case JobState::kBootFail:
      return "BOOT_FAIL";
    case JobState::kDeadline:
      return "DEADLINE";
    case JobState::kOutOfMemory:
      return "OUT_OF_MEMORY";
  }
  return "UNKNOWN";
}

bool is_over(JobState state) {
  switch (state) {
    case JobState::kPending:
    case JobState::kConfiguring:
    case JobState::kRunning:
    case JobState::kSuspended:
      return false;
    default:
      return true;
  }
}

std::string explain_pending(const Job& job, WallTime now) {
  // Some reasons carry details after the word, e.g. "ReqNodeNotAvail, UnavailableNodes:n3".
  const std::string_view word =
      std::string_view(job.reason).substr(0, job.reason.find_first_of(",("));
  std::string text = job.reason;
  for (const Explanation& entry : kExplanations) {
    if (entry.reason == word) {
      text = fmt::format("{}: {}", job.reason, entry.text);
      break;
    }
  }
  if (job.start_time && *job.start_time > now) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(*job.start_time);
    text += fmt::format("; planned to start at {:%Y-%m-%d %H:%M:%S}",
                        fmt::localtime(WallTime::clock::to_time_t(seconds)));
    if (!job.planned_nodes.empty()) text += fmt::format(" on {}", job.planned_nodes);
  }
  return text;
}

}  // namespace dsl::slurm
