// What the launcher can ask of Slurm. An interface without Slurm's headers: load_client.h loads the
// implementation.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "slurm/job.h"
#include "slurm/job_spec.h"
#include "slurm/node.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::slurm {

struct ClusterInfo {
  std::string name;
  std::string version;                   // of the controller's configuration, e.g. "22.05.8"
  std::vector<std::string> controllers;  // host names, primary first
};

/// When and where a job would start if it were submitted now.
struct StartEstimate {
  std::chrono::system_clock::time_point start;
  std::string nodes;  // hostlist
  std::uint32_t cpus = 0;
};

/// Slurm refuses longer comments.
inline constexpr std::size_t kMaxCommentBytes = 1024;

/// A connection to one cluster's controller.
///
/// Errors: kSlurmController when it does not answer before the deadline, kSlurmUnavailable when
/// authentication is broken here, kSlurmRefused (with Slurm's reason and a remedy) when it says no,
/// kNotFound for an unknown job. Thread-safe; calls are served one at a time.
class Client {
 public:
  virtual ~Client() = default;

  virtual Result<ClusterInfo> cluster(Deadline deadline) = 0;
  virtual Result<std::vector<Node>> nodes(Deadline deadline) = 0;
  virtual Result<std::vector<Partition>> partitions(Deadline deadline) = 0;
  virtual Result<std::vector<Job>> jobs(const JobFilter& filter, Deadline deadline) = 0;
  virtual Result<Job> job(JobId id, Deadline deadline) = 0;

  virtual Result<JobId> submit(const JobSpec& spec, Deadline deadline) = 0;
  /// `sbatch --test-only`: submits nothing.
  virtual Result<StartEstimate> estimate_start(const JobSpec& spec, Deadline deadline) = 0;
  /// Ends a job in good order (SIGTERM, then SIGKILL after the cluster's KillWait). A job that is
  /// over already is a success.
  virtual Status cancel(JobId id, Deadline deadline) = 0;
  /// Sends a signal to the batch script of a running job, not to its steps: asks it to end in good
  /// order. Slurm refuses for a job that does not run.
  virtual Status signal_batch(JobId id, int signal, Deadline deadline) = 0;
  virtual Status update_comment(JobId id, const std::string& comment, Deadline deadline) = 0;
};

/// One sentence that says why a pending job waits and what can be done, e.g. for "Resources"; with
/// the planned start where Slurm knows it.
std::string explain_pending(const Job& job, WallTime now);

}  // namespace dsl::slurm
