#include "launcher/process/program_paths.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace dsl::launcher {
namespace {

/// The program that `variable` names, or the one beside this executable.
Result<std::string> find_sibling(const char* program, const char* variable) {
  const char* set = std::getenv(variable);
  std::string path;
  if (set != nullptr && set[0] != '\0') {
    path = std::filesystem::absolute(set).string();
  } else {
    DSL_ASSIGN(const std::string self, own_path());
    path = (std::filesystem::path(self).parent_path() / program).string();
  }
  if (::access(path.c_str(), X_OK) != 0) {
    return fail(ErrorCode::kNotFound,
                fmt::format("install {} beside dslaunch, or set {} to its path", program, variable),
                "there is no program {}", path);
  }
  return path;
}

}  // namespace

Result<std::string> own_path() {
  std::error_code problem;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (problem) {
    return fail(ErrorCode::kIo, "mount /proc", "cannot read /proc/self/exe: {}", problem.message());
  }
  return path.string();
}

Result<std::string> find_engine() { return find_sibling("dsengine", "DSLAUNCH_ENGINE"); }
Result<std::string> find_gateway() { return find_sibling("dsgateway", "DSLAUNCH_GATEWAY"); }
Result<std::string> find_text_service() { return find_sibling("dstext", "DSLAUNCH_TEXT"); }

Result<std::string> find_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const auto candidate = std::filesystem::path(rest.substr(0, colon)) / program;
    std::error_code problem;
    if (candidate.is_absolute() && std::filesystem::is_regular_file(candidate, problem) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate.string();
    }
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return fail(ErrorCode::kNotFound, "add its folder to PATH", "there is no program {} in PATH",
              program);
}

}  // namespace dsl::launcher
