#include "launcher/deployment/log_folder.h"

#include <vector>

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {
namespace {

constexpr const char* kOwnLog = "/proc/self/fd/2";

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

std::filesystem::path aside(const std::filesystem::path& log) { return log.string() + ".1"; }

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

Result<std::filesystem::path> begin_log_folder(const DeploymentRecord& part) {
  DSL_ASSIGN(const std::filesystem::path folder, make_log_folder(part));
  std::vector<std::filesystem::path> old;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    if (is_log_of(part, entry.path().filename().string())) old.push_back(entry.path());
  }
  for (const std::filesystem::path& log : old) {
    std::error_code ignored;
    if (std::filesystem::equivalent(log, kOwnLog, ignored)) continue;
    if (!problem) std::filesystem::rename(log, aside(log), problem);
  }
  if (problem) {
    return fail(ErrorCode::kIo, "check its permissions", "cannot set old logs in {} aside: {}",
                folder.string(), problem.message());
  }
  return folder;
}

Status link_own_log(const DeploymentRecord& part) {
  DSL_ASSIGN(const std::filesystem::path folder, make_log_folder(part));
  const std::filesystem::path name = folder / part_log_name(part);
  std::error_code problem;
  if (!std::filesystem::is_regular_file(kOwnLog, problem)) return {};
  if (std::filesystem::exists(std::filesystem::symlink_status(name, problem))) return {};
  const std::filesystem::path own = std::filesystem::read_symlink(kOwnLog, problem);
  if (!problem) std::filesystem::create_symlink(own, name, problem);
  if (!problem) return {};
  return fail(ErrorCode::kIo, "check its permissions", "cannot make {}: {}", name.string(),
              problem.message());
}

}  // namespace dsl::launcher
