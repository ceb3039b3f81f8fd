#include "tests/bench/gpu/case_processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>

#include "transport/base/unique_fd.h"

namespace dsl::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// A driver may need so long to end a process whose kernel hangs.
constexpr std::chrono::seconds kMaxEnd{10};

std::string to_line(const Result<Measurement>& found) {
  if (found) return nlohmann::json(*found).dump() + '\n';
  const Error& error = found.error();
  return nlohmann::json{{"code", static_cast<int>(error.code)},
                        {"message", error.message},
                        {"remedy", error.remedy}}
             .dump() +
         '\n';
}

Result<Measurement> from_line(std::string_view line) {
  const auto json = nlohmann::json::parse(line);
  if (!json.contains("message")) return json.get<Measurement>();
  return fail(static_cast<ErrorCode>(json.at("code").get<int>()),
              json.at("remedy").get<std::string>(), "{}", json.at("message").get<std::string>());
}

/// In the child: runs the cases from `first` on and writes a line for each, up to one that fails.
[[noreturn]] void run_in_child(const std::vector<BenchCase>& cases, std::size_t first, int out) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (std::size_t i = first; i < cases.size(); ++i) {
    const Result<Measurement> found = cases[i].measure();
    const std::string line = to_line(found);
    std::fflush(nullptr);
    const bool was_written =
        ::write(out, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    // Without the destructors of a device that may not answer.
    if (!found || !was_written) _exit(1);
  }
  _exit(0);
}

/// A child that runs cases. Owns it.
class CaseProcess {
 public:
  static Result<CaseProcess> start(const std::vector<BenchCase>& cases, std::size_t first) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("making a pipe");
    CaseProcess process;
    process.lines_ = UniqueFd(ends[0]);
    const UniqueFd out(ends[1]);
    std::fflush(nullptr);
    process.pid_ = ::fork();
    if (process.pid_ < 0) return system_error("starting a process");
    if (process.pid_ == 0) run_in_child(cases, first, out.get());
    return process;
  }
  CaseProcess(CaseProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        lines_(std::move(other.lines_)),
        read_(std::move(other.read_)) {}
  CaseProcess& operator=(CaseProcess&&) = delete;
  ~CaseProcess() { static_cast<void>(end()); }

  /// What the next of its cases found.
  Result<Measurement> next(double max_seconds) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(max_seconds);
    while (true) {
      if (const auto end_of_line = read_.find('\n'); end_of_line != std::string::npos) {
        const std::string line = read_.substr(0, end_of_line);
        read_.erase(0, end_of_line + 1);
        return from_line(line);
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd event{lines_.get(), POLLIN, 0};
      const int ready = ::poll(&event, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        return fail(ErrorCode::kDeadlineExceeded, "", "no result after {} s", max_seconds);
      }
      char part[4096];
      const ssize_t count = ::read(lines_.get(), part, sizeof part);
      if (count <= 0) return fail(ErrorCode::kInternal, "", "its process {}", end());
      read_.append(part, static_cast<std::size_t>(count));
    }
  }

 private:
  CaseProcess() = default;

  static tl::unexpected<Error> system_error(std::string_view what) {
    return fail(ErrorCode::kIo, "", "{}: {}", what, std::strerror(errno));
  }

  /// How it ended, in words; kills it where it runs.
  std::string end() {
    if (pid_ < 0) return "is gone";
    const pid_t pid = std::exchange(pid_, -1);
    const auto deadline = Clock::now() + kMaxEnd;
    int status = 0;
    // One that closed its pipe is about to end by itself.
    const auto patience = Clock::now() + std::chrono::milliseconds(lines_closed() ? 1000 : 0);
    bool was_killed = false;
    while (::waitpid(pid, &status, WNOHANG) == 0) {
      const auto now = Clock::now();
      if (now > deadline) return "does not end";
      if (!was_killed && now >= patience) {
        ::kill(pid, SIGKILL);
        was_killed = true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (WIFSIGNALED(status)) return fmt::format("ended by signal {}", WTERMSIG(status));
    return fmt::format("ended with {}", WEXITSTATUS(status));
  }

  bool lines_closed() const {
    pollfd event{lines_.get(), POLLIN, 0};
    return ::poll(&event, 1, 0) == 1 && (event.revents & POLLHUP) != 0;
  }

  pid_t pid_ = -1;
  UniqueFd lines_;
  std::string read_;  // and not yet taken
};

}  // namespace

void run_cases(const std::vector<BenchCase>& cases,
               const std::function<void(const BenchCase&, const Result<Measurement>&)>& found) {
  std::optional<CaseProcess> process;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto measure = [&]() -> Result<Measurement> {
      if (!process) {
        DSL_ASSIGN(CaseProcess started, CaseProcess::start(cases, i));
        process.emplace(std::move(started));
      }
      return process->next(cases[i].max_seconds);
    };
    const Result<Measurement> result = measure();
    if (!result) process.reset();
    found(cases[i], result);
  }
}

}  // namespace dsl::bench
