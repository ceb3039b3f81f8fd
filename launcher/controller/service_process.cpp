#include "launcher/controller/service_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "launcher/deployment/log_folder.h"
#include "launcher/process/error_line.h"
#include "transport/base/log.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxLineBytes = 16384;

tl::unexpected<Error> io_failure(std::string_view what) {
  return fail(ErrorCode::kIo, "check the folder's permissions and the limit of open files",
              "cannot {}: {}", what, std::strerror(errno));
}

/// Appends to a list without copies: argv and environment are the child's.
ChildOptions options_of(const ServiceCommand& command, int output, int log) {
  ChildOptions options;
  options.argv = command.argv;
  options.environment = command.environment;
  options.standard_output = output;
  options.standard_error = log;
  return options;
}

}  // namespace

ServiceProcess::ServiceProcess(ChildProcess process, UniqueFd output, std::filesystem::path log)
    : process_(std::move(process)),
      output_(std::move(output)),
      lines_(kMaxLineBytes),
      log_(std::move(log)) {}

Result<ServiceProcess> ServiceProcess::start(const ServiceCommand& command) {
  std::error_code ignored;  // there may be none yet
  std::filesystem::rename(command.log, aside(command.log), ignored);
  const UniqueFd log(
      ::open(command.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return io_failure("write " + command.log.string());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return io_failure("make a pipe");
  UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);
  DSL_ASSIGN(ChildProcess process,
             ChildProcess::start(options_of(command, input.get(), log.get())));
  return ServiceProcess(std::move(process), std::move(output), command.log);
}

bool ServiceProcess::read_output() {
  const bool was_ready = endpoint_.has_value();
  char buffer[4096];
  while (output_.valid()) {
    const ssize_t got = ::read(output_.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      output_.reset();
      break;
    }
    lines_.feed({buffer, static_cast<std::size_t>(got)},
                [this](std::string_view line) { take_line(line); });
  }
  return endpoint_.has_value() && !was_ready;
}

void ServiceProcess::take_line(std::string_view line) {
  const Result<nlohmann::json> event = parse_json(line, "service", ErrorCode::kProtocol);
  const bool is_ready = event && event->is_object() && event->value("event", "") == "ready" &&
                        event->contains("endpoint") && (*event)["endpoint"].is_string();
  if (is_ready) {
    endpoint_ = (*event)["endpoint"].get<std::string>();
  } else {
    log(LogLevel::kDebug, "process {}: {}", pid(), line);
  }
}

Error ServiceProcess::reason_of_end(const ExitStatus& status) const {
  std::optional<Error> last = last_error_line(log_);
  if (last && !status.ok()) return *std::move(last);
  return {ErrorCode::kServiceFailed, fmt::format("process {} {}", pid(), status.to_string()),
          fmt::format("read its log {}", log_.string())};
}

}  // namespace dsl::launcher
