#include "launcher/deployment/deployment_folder.h"

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {

Result<DeploymentFolder> DeploymentFolder::of(const std::string& name) {
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  return DeploymentFolder(state / "deployments" / name);
}

Status DeploymentFolder::make() const {
  DSL_TRY(make_private_folder(path_.parent_path().parent_path()));
  DSL_TRY(make_private_folder(path_.parent_path()));
  DSL_TRY(make_private_folder(path_));
  return make_private_folder(services());
}

Result<UniqueFd> DeploymentFolder::lock() const { return lock_file(path_ / ".lock"); }

Status DeploymentFolder::remove() const {
  std::error_code problem;
  std::filesystem::remove_all(path_, problem);
  if (!problem) return {};
  return fail(ErrorCode::kIo, "check its permissions", "cannot remove {}: {}", path_.string(),
              problem.message());
}

}  // namespace dsl::launcher
