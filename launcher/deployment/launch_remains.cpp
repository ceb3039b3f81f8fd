#include "launcher/deployment/launch_remains.h"

#include <algorithm>

#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/secret_store.h"

namespace dsl::launcher {

Status remove_remains(const DeploymentRecord& part) {
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(part.name));
  DSL_TRY(folder.remove());
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  return secrets.remove(part.launch_id);
}

Status remove_remains_if_last(Registry& registry, const DeploymentRecord& part) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> all, registry.list());
  const bool is_needed = std::any_of(all.begin(), all.end(), [&](const DeploymentRecord& other) {
    return other.launch_id == part.launch_id &&
           (!is_same_part(other, part) || other.state == DeploymentState::kFailed);
  });
  return is_needed ? Status{} : remove_remains(part);
}

Status sweep_remains(const std::function<Registry*(ClusterKind)>& registry_of) {
  DSL_ASSIGN(const SecretStore secrets, SecretStore::open());
  const auto has_ended = [&](const AllocationName& owner) {
    Registry* const registry = registry_of(owner.cluster);
    return registry != nullptr && registry->is_over(owner).value_or(false);
  };
  Status removed;
  const auto remove_folder = [&](const std::string& deployment) {
    const Result<DeploymentFolder> folder = DeploymentFolder::of(deployment);
    removed = folder ? folder->remove() : tl::unexpected<Error>(folder.error());
  };
  DSL_TRY(secrets.sweep(has_ended, remove_folder));
  return removed;
}

}  // namespace dsl::launcher
