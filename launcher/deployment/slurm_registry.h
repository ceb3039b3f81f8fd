// The registry of a Slurm cluster: the comment of each deployment's job. Any login node finds any
// deployment of the user without another service.
#pragma once

#include <memory>

#include "launcher/deployment/registry.h"
#include "slurm/client.h"

namespace dsl::launcher {

class SlurmRegistry : public Registry {
 public:
  explicit SlurmRegistry(std::unique_ptr<slurm::Client> client) : client_(std::move(client)) {}

  Status create(const DeploymentRecord& record) override;
  Status update(const DeploymentRecord& record) override;
  Result<DeploymentRecord> find(const std::string& name) override;
  Result<std::vector<DeploymentRecord>> list() override;
  Status remove(const DeploymentRecord& record) override;

 private:
  std::unique_ptr<slurm::Client> client_;
};

Result<std::unique_ptr<Registry>> open_slurm_registry();

/// The record as a job's comment: without what Slurm knows itself, cut to Slurm's limit.
/// kInvalidArgument when even the shortest form is too long (a very long model path).
Result<std::string> to_comment(const DeploymentRecord& record);
/// The deployment that a job stands for; none when its comment is not a record.
std::optional<DeploymentRecord> record_of(const slurm::Job& job);

}  // namespace dsl::launcher
