#include "launcher/process/process_identity.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace dsl::launcher {
namespace {

struct ProcStat {
  char state = 'X';
  std::int64_t start_ticks = 0;
};

/// Fields 3 and 22 of /proc/PID/stat. The second field, the name in brackets, may hold anything, so
/// reading starts after the last bracket.
Result<ProcStat> read_stat(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text, '\0') || text.rfind(')') == std::string::npos) {
    return fail(ErrorCode::kNotFound, "", "there is no process {}", pid);
  }
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  ProcStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start_ticks;
  if (!fields) return fail(ErrorCode::kNotFound, "", "process {} has no readable stat", pid);
  return stat;
}

}  // namespace

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

std::string pid_space() {
  std::error_code ignored;
  const auto space = std::filesystem::read_symlink("/proc/self/ns/pid", ignored);
  return host_name() + "/" + space.string();
}

Result<ProcessIdentity> identify_process(std::int64_t pid) {
  DSL_ASSIGN(const ProcStat stat, read_stat(pid));
  if (stat.state == 'Z' || stat.state == 'X') {
    return fail(ErrorCode::kNotFound, "", "process {} has ended", pid);
  }
  return ProcessIdentity{pid, stat.start_ticks, host_name()};
}

ProcessIdentity this_process() {
  Result<ProcessIdentity> self = identify_process(::getpid());
  DSL_CHECK(self.has_value(), "/proc is not readable: {}", self.error().message);
  return *std::move(self);
}

bool is_alive(const ProcessIdentity& process) {
  if (process.pid <= 0) return false;
  if (process.host != host_name()) return true;
  const Result<ProcessIdentity> now = identify_process(process.pid);
  return now && now->start_ticks == process.start_ticks;
}

Result<UniqueFd> open_process(const ProcessIdentity& process) {
  const auto pid = static_cast<pid_t>(process.pid);
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Checked after opening: the pidfd now pins the process, so the identity cannot change any more.
  if (!fd.valid() || !is_alive(process)) {
    return fail(ErrorCode::kNotFound, "", "process {} has ended", process.pid);
  }
  return fd;
}

}  // namespace dsl::launcher
