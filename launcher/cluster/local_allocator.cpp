#include "launcher/cluster/local_allocator.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include "launcher/plan/cpu_binding.h"
#include "launcher/process/child_process.h"
#include "launcher/process/process_identity.h"
#include "slurm/batch_script.h"

namespace dsl::launcher {
namespace {

/// What a supervisor needs to end its ranks by force after it was asked in good order.
constexpr std::chrono::milliseconds kKillReserve{1000};

std::string shell_line(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& argument : argv) {
    line += (line.empty() ? "" : " ") + slurm::shell_quote(argument);
  }
  return line;
}

bool wait_for_end(const UniqueFd& pidfd, Deadline deadline) {
  pollfd ended{pidfd.get(), POLLIN, 0};
  return ::poll(&ended, 1, static_cast<int>(deadline.remaining().count())) > 0;
}

}  // namespace

std::string local_allocation_id(const ProcessIdentity& program) {
  return fmt::format("{}:{}", program.pid, program.start_ticks);
}

Result<ProcessIdentity> parse_local_allocation_id(const std::string& id) {
  ProcessIdentity process;
  process.host = host_name();
  const char* end = id.data() + id.size();
  const auto [colon, bad_pid] = std::from_chars(id.data(), end, process.pid);
  if (bad_pid == std::errc() && colon != end && *colon == ':') {
    const auto [rest, bad_ticks] = std::from_chars(colon + 1, end, process.start_ticks);
    if (bad_ticks == std::errc() && rest == end && process.pid > 1) return process;
  }
  return fail(ErrorCode::kInvalidArgument, "", "\"{}\" is not an id of a local allocation", id);
}

Result<std::vector<RenderedScript>> LocalAllocator::render(const LaunchRequest& request) const {
  return std::vector<RenderedScript>{
      {script_name(request.record) + ".sh",
       "#!/bin/sh\n# DSLAUNCH_SECRET, 64 hexadecimal digits, is in the environment.\nexec setsid " +
           shell_line(request.command) + "\n"}};
}

Result<std::string> LocalAllocator::start(const LaunchRequest& request) {
  const UniqueFd log(
      ::open(request.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) {
    return fail(ErrorCode::kIo, "check the folder's permissions", "cannot write {}: {}",
                request.log.string(), std::strerror(errno));
  }
  ChildOptions options;
  options.argv = request.command;
  options.environment = {"DSLAUNCH_SECRET=" + request.secret};
  options.standard_output = log.get();
  options.standard_error = log.get();
  options.parent_death = ParentDeath::kDetached;
  DSL_ASSIGN(const ChildProcess program, ChildProcess::start(options));
  DSL_ASSIGN(const ProcessIdentity identity, identify_process(program.pid()));
  return local_allocation_id(identity);
}

Result<AllocationStatus> LocalAllocator::status(const std::string& allocation_id) {
  DSL_ASSIGN(const ProcessIdentity process, parse_local_allocation_id(allocation_id));
  AllocationStatus status;
  status.nodes = {host_name()};
  status.state = is_alive(process) ? AllocationState::kRunning : AllocationState::kEnded;
  if (status.state == AllocationState::kEnded) status.reason = "its process has ended";
  return status;
}

Status LocalAllocator::stop(const std::string& allocation_id, Deadline deadline) {
  DSL_ASSIGN(const ProcessIdentity process, parse_local_allocation_id(allocation_id));
  const Result<UniqueFd> pidfd = open_process(process);
  if (!pidfd) return {};
  ::syscall(SYS_pidfd_send_signal, pidfd->get(), SIGTERM, nullptr, 0);
  const auto patience = deadline.remaining() - kKillReserve;
  if (wait_for_end(*pidfd, Deadline::after(std::max(patience, kKillReserve)))) return {};
  // Children die with their parent: the kernel sees to it (PR_SET_PDEATHSIG).
  ::syscall(SYS_pidfd_send_signal, pidfd->get(), SIGKILL, nullptr, 0);
  if (wait_for_end(*pidfd, Deadline::after(kKillReserve))) return {};
  return fail(ErrorCode::kDeadlineExceeded, "look at it with ps", "process {} does not end",
              process.pid);
}

Result<std::string> LocalAllocator::own_id() { return local_allocation_id(this_process()); }

Result<std::vector<Node>> LocalAllocator::nodes() {
  return std::vector<Node>{{host_name(), static_cast<int>(usable_cpus().size()), 0}};
}

Result<std::vector<std::string>> LocalAllocator::step_command(const std::vector<Node>&,
                                                              const std::vector<std::string>&) {
  return std::vector<std::string>{};
}

Result<std::string> LocalAllocator::reachable_host() { return std::string("127.0.0.1"); }

}  // namespace dsl::launcher
