// The registry of one machine: one 0600 JSON file per part of a deployment, guarded by a lock file.
#pragma once

#include <filesystem>
#include <memory>

#include "launcher/deployment/registry.h"

namespace dsl::launcher {

/// Changes are made under the lock and by rename, so that two `up` of one name cannot both win and
/// a reader never sees half a record.
class LocalRegistry : public Registry {
 public:
  /// In state_folder()/registry, in a folder of this host and pid namespace: others that share the
  /// home cannot tell which of its processes live.
  static Result<std::unique_ptr<LocalRegistry>> open();
  /// In `folder`, which is made if it does not exist.
  static Result<std::unique_ptr<LocalRegistry>> open(const std::filesystem::path& folder);

  Status create(const DeploymentRecord& record) override;
  Status update(const DeploymentRecord& record) override;
  Status restore(const DeploymentRecord& record) override;
  Result<std::vector<DeploymentRecord>> list() override;
  Status remove(const DeploymentRecord& record) override;
  std::string end_of(const DeploymentRecord& part) override;
  Result<AllocationName> name_of(const std::string& allocation_id) override;
  Result<bool> is_over(const AllocationName& allocation) override;

 private:
  explicit LocalRegistry(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path path_of(const DeploymentRecord& record) const;
  Result<DeploymentRecord> read(const std::filesystem::path& path) const;

  std::filesystem::path folder_;
};

}  // namespace dsl::launcher
