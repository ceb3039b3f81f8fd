#include "launcher/process/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

namespace dsl::launcher {
namespace {

/// Everything the child needs, built before fork: after it only async-signal-safe calls are
/// allowed.
struct ExecPlan {
  std::vector<std::string> environment;
  std::vector<char*> argv;
  std::vector<char*> envp;
  cpu_set_t cpus;
  bool bind = false;
};

ExecPlan make_plan(const ChildOptions& options) {
  ExecPlan plan;
  std::map<std::string, std::string> variables;
  const auto set = [&](const std::string& assignment) {
    variables[assignment.substr(0, assignment.find('='))] = assignment;
  };
  for (char** variable = environ; *variable != nullptr; ++variable) set(*variable);
  for (const std::string& assignment : options.environment) set(assignment);
  for (const auto& [name, assignment] : variables) plan.environment.push_back(assignment);
  for (std::string& assignment : plan.environment) plan.envp.push_back(assignment.data());
  plan.envp.push_back(nullptr);
  for (const std::string& argument : options.argv) {
    plan.argv.push_back(const_cast<char*>(argument.c_str()));
  }
  plan.argv.push_back(nullptr);
  CPU_ZERO(&plan.cpus);
  for (const int cpu : options.cpus) CPU_SET(static_cast<std::size_t>(cpu), &plan.cpus);
  plan.bind = !options.cpus.empty();
  return plan;
}

/// Runs in the child; returns only as errno when something fails.
int become(const ChildOptions& options, const ExecPlan& plan, pid_t parent) {
  if (options.parent_death == ParentDeath::kDetached) {
    ::setsid();
  } else {
    ::setpgid(0, 0);
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return errno;
    if (::getppid() != parent) return ESRCH;  // the parent died before the line above
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  if (options.standard_output >= 0) ::dup2(options.standard_output, STDOUT_FILENO);
  if (options.standard_error >= 0) ::dup2(options.standard_error, STDERR_FILENO);
  if (plan.bind) ::sched_setaffinity(0, sizeof(plan.cpus), &plan.cpus);
  ::execve(plan.argv[0], plan.argv.data(), plan.envp.data());
  return errno;
}

tl::unexpected<Error> start_failure(const ChildOptions& options, int problem) {
  const ErrorCode code = problem == ENOENT   ? ErrorCode::kNotFound
                         : problem == EACCES ? ErrorCode::kPermission
                                             : ErrorCode::kIo;
  return fail(code, "check that the program is installed and executable", "cannot start {}: {}",
              options.argv.front(), std::strerror(problem));
}

ExitStatus to_status(int raw) {
  if (WIFSIGNALED(raw)) return {0, WTERMSIG(raw)};
  return {WEXITSTATUS(raw), 0};
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (signal == 0) return fmt::format("ended with exit code {}", code);
  const char* name = ::sigdescr_np(signal);
  return fmt::format("was killed by signal {} ({})", signal, name != nullptr ? name : "unknown");
}

Result<ChildProcess> ChildProcess::start(const ChildOptions& options) {
  const ExecPlan plan = make_plan(options);
  int report[2];  // closes at exec, or carries errno
  if (::pipe2(report, O_CLOEXEC) != 0) return start_failure(options, errno);
  UniqueFd report_in(report[0]);
  UniqueFd report_out(report[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return start_failure(options, errno);
  if (pid == 0) {
    const int problem = become(options, plan, parent);
    [[maybe_unused]] const ssize_t ignored = ::write(report[1], &problem, sizeof(problem));
    ::_exit(127);
  }
  report_out.reset();
  int problem = 0;
  ssize_t got = 0;
  do {
    got = ::read(report_in.get(), &problem, sizeof(problem));
  } while (got < 0 && errno == EINTR);
  if (got != 0) {
    ::waitpid(pid, nullptr, 0);
    return start_failure(options, got > 0 ? problem : EIO);
  }
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ChildProcess child(pid, std::move(pidfd), options.parent_death);
  if (!child.pidfd_.valid()) {
    child.parent_death_ = ParentDeath::kDies;
    return start_failure(options, errno);
  }
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      parent_death_(other.parent_death_),
      status_(std::exchange(other.status_, std::nullopt)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
    parent_death_ = other.parent_death_;
    status_ = std::exchange(other.status_, std::nullopt);
  }
  return *this;
}

ChildProcess::~ChildProcess() { end(); }

void ChildProcess::end() {
  if (pid_ == 0 || status_.has_value() || parent_death_ == ParentDeath::kDetached) return;
  signal(SIGKILL);
  wait();
}

void ChildProcess::signal(int number) const {
  if (pid_ > 0 && !status_.has_value()) ::kill(-pid_, number);
}

std::optional<ExitStatus> ChildProcess::try_wait() {
  if (status_.has_value() || pid_ == 0) return status_;
  int raw = 0;
  if (::waitpid(pid_, &raw, WNOHANG) == pid_) status_ = to_status(raw);
  return status_;
}

ExitStatus ChildProcess::wait() {
  while (!try_wait().has_value()) {
    pollfd ended{pidfd_.get(), POLLIN, 0};
    if (::poll(&ended, 1, -1) < 0 && errno != EINTR) {
      int raw = 0;
      ::waitpid(pid_, &raw, 0);
      status_ = to_status(raw);
    }
  }
  return *status_;
}

}  // namespace dsl::launcher
