// The Slurm client over libslurm. The library blocks as long as it pleases: callers use it through
// BoundedClient.
#pragma once

#include "slurm/client.h"

namespace dsl::slurm {

/// Calls libslurm directly; the deadlines of Client are not looked at. Thread-compatible.
class LibslurmClient : public Client {
 public:
  Result<ClusterInfo> cluster(Deadline deadline) override;
  Result<std::vector<Node>> nodes(Deadline deadline) override;
  Result<std::vector<Partition>> partitions(Deadline deadline) override;
  Result<std::vector<Job>> jobs(const JobFilter& filter, Deadline deadline) override;
  Result<Job> job(JobId id, Deadline deadline) override;
  Result<JobId> submit(const JobSpec& spec, Deadline deadline) override;
  Result<StartEstimate> estimate_start(const JobSpec& spec, Deadline deadline) override;
  Status cancel(JobId id, Deadline deadline) override;
  Status signal_batch(JobId id, int signal, Deadline deadline) override;
  Status update_comment(JobId id, const std::string& comment, Deadline deadline) override;

 private:
  /// The error of a refused submission; an unknown partition lists the known ones.
  tl::unexpected<Error> refused(int number, std::string_view operation, const JobSpec& spec,
                                Deadline deadline);
};

}  // namespace dsl::slurm
