#include "launcher/deployment/log_folder.h"

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {

std::string rank_log_name(int rank) { return fmt::format("rank-{}.log", rank); }

Result<std::filesystem::path> log_folder(const std::string& name) {
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  return state / "logs" / name;
}

Result<std::filesystem::path> make_log_folder(const std::string& name) {
  DSL_ASSIGN(const std::filesystem::path folder, log_folder(name));
  DSL_TRY(make_private_folder(folder.parent_path().parent_path()));
  DSL_TRY(make_private_folder(folder.parent_path()));
  DSL_TRY(make_private_folder(folder));
  return folder;
}

Result<std::filesystem::path> clear_log_folder(const std::string& name) {
  DSL_ASSIGN(const std::filesystem::path folder, make_log_folder(name));
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    if (entry.path().extension() == ".log") std::filesystem::remove(entry.path(), problem);
  }
  if (problem) {
    return fail(ErrorCode::kIo, "check its permissions", "cannot clear {}: {}", folder.string(),
                problem.message());
  }
  return folder;
}

}  // namespace dsl::launcher
