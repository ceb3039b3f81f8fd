#include "launcher/deployment/log_folder.h"

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {
namespace {

bool is_log_of(const DeploymentRecord& part, const std::string& file) {
  if (!file.ends_with(".log")) return false;
  const bool of_a_replica = file.starts_with("rank-") || file.starts_with("supervisor");
  return of_a_replica == is_replica(part);
}

}  // namespace

std::string part_log_name(const DeploymentRecord& part) {
  return is_services(part) ? "control.log" : "supervisor.log";
}

std::string rank_log_name(int rank) { return fmt::format("rank-{}.log", rank); }

Result<std::filesystem::path> log_folder(const std::string& name) {
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  return state / "logs" / name;
}

Result<std::filesystem::path> log_folder(const DeploymentRecord& part) {
  DSL_ASSIGN(const std::filesystem::path folder, log_folder(part.name));
  return part.replica == 0 ? folder : folder / fmt::format("replica-{}", part.replica);
}

Result<std::filesystem::path> make_log_folder(const DeploymentRecord& part) {
  DSL_ASSIGN(const std::filesystem::path all, log_folder(part.name));
  DSL_ASSIGN(const std::filesystem::path folder, log_folder(part));
  for (const auto& path : {all.parent_path().parent_path(), all.parent_path(), all, folder}) {
    DSL_TRY(make_private_folder(path));
  }
  return folder;
}

Result<std::filesystem::path> clear_log_folder(const DeploymentRecord& part) {
  DSL_ASSIGN(const std::filesystem::path folder, make_log_folder(part));
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    if (is_log_of(part, entry.path().filename().string())) {
      std::filesystem::remove(entry.path(), problem);
    }
  }
  if (problem) {
    return fail(ErrorCode::kIo, "check its permissions", "cannot clear {}: {}", folder.string(),
                problem.message());
  }
  return folder;
}

}  // namespace dsl::launcher
