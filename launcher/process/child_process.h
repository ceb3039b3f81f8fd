// A child process that never outlives its parent.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// How a process ended: by exit code, or by a signal.
struct ExitStatus {
  int code = 0;
  int signal = 0;  // 0: it exited by itself

  bool ok() const { return code == 0 && signal == 0; }
  /// "ended with exit code 3" or "was killed by signal 9 (Killed)".
  std::string to_string() const;
};

/// Death of the parent thread ends a kDies child (SIGKILL by the kernel); a kDetached one leads its
/// own session.
enum class ParentDeath : bool { kDies, kDetached };

struct ChildOptions {
  std::vector<std::string> argv;           // absolute path of the program first
  std::vector<std::string> environment{};  // "NAME=value", replacing or adding to this process's
  std::vector<int> cpus{};                 // cores to run on; empty: this process's
  int standard_output = -1;  // descriptors the child gets as 1 and 2; -1: this process's own
  int standard_error = -1;
  ParentDeath parent_death = ParentDeath::kDies;
};

/// Owns a child process in its own process group: a kDies child is killed and reaped when this
/// object goes, a kDetached one is left alone. Move-only, thread-compatible.
class ChildProcess {
 public:
  /// Forks and executes; a program that cannot be executed is kNotFound or kPermission here, not an
  /// exit code later. Call it from a thread that lives as long as the child should: the kernel ties
  /// PDEATHSIG to the thread.
  static Result<ChildProcess> start(const ChildOptions& options);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  /// Becomes readable when the process has ended.
  int pidfd() const { return pidfd_.get(); }
  /// Sends a signal to the child's process group; nothing when it has been reaped.
  void signal(int number) const;
  /// Reaps the child if it has ended. The same answer on every later call.
  std::optional<ExitStatus> try_wait();
  /// Blocks until the child has ended.
  ExitStatus wait();

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd, ParentDeath parent_death)
      : pid_(pid), pidfd_(std::move(pidfd)), parent_death_(parent_death) {}
  void end();

  pid_t pid_ = 0;
  UniqueFd pidfd_;
  ParentDeath parent_death_ = ParentDeath::kDies;
  std::optional<ExitStatus> status_;
};

}  // namespace dsl::launcher
