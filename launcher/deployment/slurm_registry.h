// The registry of a Slurm cluster: the comment of each deployment's job. Any login node finds any
// deployment of the user without another service.
#pragma once

#include <memory>

#include "launcher/deployment/registry.h"
#include "launcher/deployment/secret_store.h"
#include "slurm/client.h"

namespace dsl::launcher {

/// Slurm keeps an ended job, and with it the reason of a failure, for minutes (MinJobAge), and lets
/// nobody change its comment: a failed launch counts as forgotten when its secret has been removed.
class SlurmRegistry : public Registry {
 public:
  SlurmRegistry(std::unique_ptr<slurm::Client> client, SecretStore secrets)
      : client_(std::move(client)), secrets_(std::move(secrets)) {}

  Status create(const DeploymentRecord& record) override;
  Status update(const DeploymentRecord& record) override;
  Status restore(const DeploymentRecord&) override { return {}; }
  Result<std::vector<DeploymentRecord>> list() override;
  Status remove(const DeploymentRecord& record) override;
  std::string end_of(const DeploymentRecord& part) override;
  Result<AllocationName> name_of(const std::string& allocation_id) override;
  Result<bool> is_over(const AllocationName& allocation) override;

 private:
  bool is_forgotten(const DeploymentRecord& record) const;
  void name_bad_nodes(DeploymentRecord& record);

  std::unique_ptr<slurm::Client> client_;
  SecretStore secrets_;
  std::string cluster_name_;  // empty: not asked yet
};

Result<std::unique_ptr<Registry>> open_slurm_registry();

/// The record as a job's comment: without what Slurm knows itself, nodes as one hostlist, cut to
/// Slurm's limit.
/// kInvalidArgument when even the shortest form is too long (a very long model path).
Result<std::string> to_comment(const DeploymentRecord& record);
/// The deployment that a job stands for; none when its comment is not a record.
std::optional<DeploymentRecord> record_of(const slurm::Job& job);

}  // namespace dsl::launcher
