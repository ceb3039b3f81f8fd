// Jobs as Slurm reports them, without Slurm's headers.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "slurm/time_limit.h"

namespace dsl::slurm {

/// The number of a job, as squeue prints it.
struct JobId {
  std::uint32_t value = 0;
  auto operator<=>(const JobId&) const = default;
};

enum class JobState {
  kPending,
  kConfiguring,  // nodes are allocated and still booting
  kRunning,
  kSuspended,
  kCompleted,
  kCancelled,
  kFailed,
  kTimeout,
  kNodeFail,
  kPreempted,
  kBootFail,
  kDeadline,
  kOutOfMemory,
};

/// Slurm's own word, e.g. "RUNNING".
std::string_view job_state_name(JobState state);
/// True when the job has run its course: it will not start (again).
bool is_over(JobState state);

using WallTime = std::chrono::system_clock::time_point;

/// One job record. Hostlists are in Slurm's notation (hostlist.h expands them).
struct Job {
  JobId id;
  std::string name;
  std::uint32_t user_id = 0;
  JobState state = JobState::kPending;
  bool completing = false;  // its processes or epilogs are still ending on some node
  std::string reason;  // Slurm's word for why it waits or failed, e.g. "Resources"; "None" when
                       // there is none
  std::string partition;
  std::string account;
  std::string qos;
  std::string comment;
  std::string nodes;          // hostlist of the nodes it holds or held; empty while pending
  std::string planned_nodes;  // hostlist the scheduler has in mind for a pending job; may be empty
  std::uint32_t num_nodes = 0;
  std::string batch_host;  // node of the batch script; empty while pending
  std::string work_dir;
  std::string std_out;
  std::string std_err;
  std::optional<WallTime> submit_time;
  std::optional<WallTime> start_time;  // planned while pending, actual afterwards
  std::optional<WallTime> end_time;    // limit while running, actual afterwards
  TimeLimit time_limit;
  std::uint32_t restart_count = 0;
  int exit_status = 0;  // of the batch script, when over by itself
  int exit_signal = 0;  // that ended the batch script, or 0
};

/// Which jobs to list; unset fields match all.
struct JobFilter {
  std::optional<std::uint32_t> user_id;
  std::optional<std::string> name;
  bool include_ended = false;  // Slurm keeps ended jobs for MinJobAge (minutes)
};

}  // namespace dsl::slurm
