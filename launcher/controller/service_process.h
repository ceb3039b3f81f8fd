// One gateway or text service as a child process: started, watched, logged and drained.
#pragma once

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launcher/process/child_process.h"
#include "launcher/process/line_buffer.h"
#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

struct ServiceCommand {
  std::vector<std::string> argv;         // absolute path first
  std::vector<std::string> environment;  // "NAME=value"
  std::filesystem::path log;  // of standard error; written anew, the one before is set aside
};

/// Owns the child, which dies with this process (PR_SET_PDEATHSIG). Move-only, thread-compatible.
class ServiceProcess {
 public:
  /// Call from a thread that lives as long as the service.
  static Result<ServiceProcess> start(const ServiceCommand& command);

  pid_t pid() const { return process_.pid(); }
  /// What to poll: readable when there is something for step().
  int output_fd() const { return output_.get(); }
  int pidfd() const { return process_.pidfd(); }

  /// Reads what the service says on standard output. True when it has just said where it listens.
  bool read_output();
  /// "HOST:PORT" or "unix:PATH"; none until it is ready.
  const std::optional<std::string>& endpoint() const { return endpoint_; }

  /// Asks it to end in good order (SIGTERM).
  void drain() { process_.signal(SIGTERM); }
  void kill() { process_.signal(SIGKILL); }
  std::optional<ExitStatus> try_wait() { return process_.try_wait(); }
  /// Why it ended: the last error line of its log, else how it ended.
  Error reason_of_end(const ExitStatus& status) const;

 private:
  ServiceProcess(ChildProcess process, UniqueFd output, std::filesystem::path log);
  void take_line(std::string_view line);

  ChildProcess process_;
  UniqueFd output_;
  LineBuffer lines_;
  std::filesystem::path log_;
  std::optional<std::string> endpoint_;
};

}  // namespace dsl::launcher
