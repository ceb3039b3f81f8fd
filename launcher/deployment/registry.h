// Where deployments are found by name: a directory of 0600 files locally, job comments on a Slurm
// cluster.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The deployments of this user. Thread-compatible. A record whose owner is dead is not listed,
/// unless it says kFailed; an implementation removes it on the way.
class Registry {
 public:
  virtual ~Registry() = default;

  /// Takes the name of `record` for its launch_id. kDeploymentExists names the holder when a live
  /// deployment has the name; a failed one is replaced. Locally this writes the record; on Slurm
  /// the record comes into being with the job (Allocator::start), so this checks the name only.
  virtual Status create(const DeploymentRecord& record) = 0;

  /// Replaces the record of the same name and launch_id; kDeploymentNotFound when that launch is
  /// gone. On Slurm this writes the comment of job record.allocation_id.
  virtual Status update(const DeploymentRecord& record) = 0;

  /// kDeploymentNotFound lists the names that exist. On Slurm the result reflects the job: a
  /// pending job is kPending, a job that ended badly is kFailed with kSlurmJobEnded unless its
  /// comment holds the supervisor's own error.
  virtual Result<DeploymentRecord> find(const std::string& name) = 0;

  /// All deployments of this user, by name.
  virtual Result<std::vector<DeploymentRecord>> list() = 0;

  /// Forgets the launch; no error when it is gone already. On Slurm an ended job needs no
  /// forgetting.
  virtual Status remove(const DeploymentRecord& record) = 0;
};

/// The registry of a cluster. kSlurm: kSlurmUnavailable where the Slurm module cannot be loaded.
Result<std::unique_ptr<Registry>> open_registry(ClusterKind cluster);

}  // namespace dsl::launcher
