#include "launcher/supervisor/agent_step.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "launcher/process/line_buffer.h"
#include "transport/base/log.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxStepLineBytes = 1 << 16;

}  // namespace

std::string to_json_line(const RankExit& exit) {
  json line = {{"event", "exit"},
               {"rank", exit.rank.value_or(-1)},
               {"code", exit.status.code},
               {"signal", exit.status.signal},
               {"last_line", exit.last_line}};
  if (exit.error) {
    line["error"] = {{"code", static_cast<int>(exit.error->code)},
                     {"message", exit.error->message},
                     {"remedy", exit.error->remedy}};
  }
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<RankExit> parse_exit_line(std::string_view text) {
  DSL_ASSIGN(const json line, parse_json(text, "agent", ErrorCode::kProtocol));
  try {
    RankExit exit;
    if (line.at("event").get<std::string>() != "exit") throw std::out_of_range("event");
    exit.rank = line.at("rank").get<int>();
    exit.status = {line.at("code").get<int>(), line.at("signal").get<int>()};
    exit.last_line = line.at("last_line").get<std::string>();
    if (const auto error = line.find("error"); error != line.end()) {
      exit.error =
          Error{static_cast<ErrorCode>(error->at("code").get<int>()),
                error->at("message").get<std::string>(), error->at("remedy").get<std::string>()};
    }
    return exit;
  } catch (const std::exception& problem) {
    return fail(ErrorCode::kProtocol, "use one version of dslaunch on all nodes",
                "an agent's line is malformed: {}", problem.what());
  }
}

struct AgentStep::Impl {
  explicit Impl(ChildProcess child) : process(std::move(child)) {}

  std::mutex mutex;
  std::condition_variable ended_changed;
  bool ended = false;
  ChildProcess process;
  UniqueFd output;
  int num_ranks = 0;
  int num_exits = 0;
  RankExitSink on_exit;
  std::thread reader;

  void take_line(std::string_view line) {
    Result<RankExit> exit = parse_exit_line(line);
    if (!exit) {
      dsl::log(LogLevel::kWarning, "{}", exit.error().to_string());
      return;
    }
    ++num_exits;
    on_exit(*exit);
  }

  /// Reads until the step closes its output, then waits for its end.
  void read() {
    LineBuffer lines(kMaxStepLineBytes);
    char buffer[8192];
    while (true) {
      const ssize_t got = ::read(output.get(), buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      lines.feed({buffer, static_cast<std::size_t>(got)},
                 [this](std::string_view line) { take_line(line); });
    }
    pollfd exited{process.pidfd(), POLLIN, 0};
    while (::poll(&exited, 1, -1) < 0 && errno == EINTR) {
    }
    ExitStatus status;
    {
      const std::lock_guard lock(mutex);
      status = process.wait();
    }
    if (!status.ok() || num_exits < num_ranks) {
      on_exit(RankExit{std::nullopt, status, std::nullopt,
                       fmt::format("{} of {} ranks had told their end", num_exits, num_ranks)});
    }
    const std::lock_guard lock(mutex);
    ended = true;
    ended_changed.notify_all();
  }

  void signal(int number) {
    const std::lock_guard lock(mutex);
    process.signal(number);
  }
};

AgentStep::AgentStep(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AgentStep::~AgentStep() {
  if (!wait(Deadline::after(std::chrono::seconds(0)))) kill();
  impl_->reader.join();
}

Result<std::unique_ptr<AgentStep>> AgentStep::start(const std::vector<std::string>& command,
                                                    const std::vector<std::string>& environment,
                                                    int num_ranks, RankExitSink on_exit) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kIo, "raise the limit of open files", "cannot make a pipe: {}",
                std::strerror(errno));
  }
  UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  ChildOptions options;
  options.argv = command;
  options.environment = environment;
  options.standard_output = input.get();
  DSL_ASSIGN(ChildProcess process, ChildProcess::start(options));
  auto impl = std::make_unique<Impl>(std::move(process));
  impl->output = std::move(output);
  impl->num_ranks = num_ranks;
  impl->on_exit = std::move(on_exit);
  Impl* read = impl.get();
  impl->reader = std::thread([read] { read->read(); });
  return std::unique_ptr<AgentStep>(new AgentStep(std::move(impl)));
}

void AgentStep::terminate() { impl_->signal(SIGTERM); }
void AgentStep::kill() { impl_->signal(SIGKILL); }

bool AgentStep::wait(Deadline deadline) {
  std::unique_lock lock(impl_->mutex);
  return impl_->ended_changed.wait_for(lock, deadline.remaining(), [this] { return impl_->ended; });
}

}  // namespace dsl::launcher
