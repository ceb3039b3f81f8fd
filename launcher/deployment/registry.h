// Where deployments are found by name: a directory of 0600 files locally, job comments on a Slurm
// cluster.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/deployment/allocation_name.h"
#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// The parts of this user's deployments. Thread-compatible. A record whose owner is dead is not
/// listed, unless it says kFailed; an implementation removes it on the way.
class Registry {
 public:
  virtual ~Registry() = default;

  /// Takes the name and part of `record` for its launch_id. kDeploymentExists names the holder when
  /// a live one has them; a failed one is replaced. Locally this writes the record; on Slurm the
  /// record comes into being with the job (Allocator::start), so this only looks.
  virtual Status create(const DeploymentRecord& record) = 0;

  /// Replaces the record of the same part and launch_id; kDeploymentNotFound when that launch is
  /// gone. On Slurm this writes the comment of job record.allocation_id.
  virtual Status update(const DeploymentRecord& record) = 0;

  /// Writes the record of a part that lives when it is gone, e.g. because somebody removed the
  /// folder; one that is there stays as it is. On Slurm a record lives as long as its job.
  virtual Status restore(const DeploymentRecord& record) = 0;

  /// All parts of all deployments, by name; replicas by number, then the services. On Slurm a
  /// record reflects its job: a pending job is kPending, a job that ended badly is kFailed with
  /// kSlurmJobEnded unless its comment holds the supervisor's own error.
  virtual Result<std::vector<DeploymentRecord>> list() = 0;

  /// The parts of one deployment, never none; kDeploymentNotFound lists the names that exist.
  Result<std::vector<DeploymentRecord>> parts(const std::string& name);
  /// The part that stands for the deployment: a ready replica, else the first.
  Result<DeploymentRecord> find(const std::string& name);
  /// What the registry holds now for the part and launch of `record`; kDeploymentNotFound when that
  /// launch is gone.
  Result<DeploymentRecord> current(const DeploymentRecord& record);

  /// Forgets the launch of a part; no error when it is gone already. On Slurm an ended job needs no
  /// forgetting.
  virtual Status remove(const DeploymentRecord& record) = 0;

  /// Why a part that list() has no more ended, as far as anything still tells.
  virtual std::string end_of(const DeploymentRecord& part) = 0;

  /// The name of an allocation of this registry's cluster.
  virtual Result<AllocationName> name_of(const std::string& allocation_id) = 0;
  /// True only when the allocation has certainly ended and list() has no reason to tell of it.
  /// False for what this registry cannot see: another host, another cluster.
  virtual Result<bool> is_over(const AllocationName& allocation) = 0;
};

/// The part among those of one deployment that stands for it; `parts` must not be empty.
const DeploymentRecord& standing_for(const std::vector<DeploymentRecord>& parts);
/// Orders records as list() gives them.
void sort_records(std::vector<DeploymentRecord>& records);

/// The registry of a cluster. kSlurm: kSlurmUnavailable where the Slurm module cannot be loaded.
Result<std::unique_ptr<Registry>> open_registry(ClusterKind cluster);

}  // namespace dsl::launcher
