#include "launcher/process/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "launcher/process/child_process.h"
#include "launcher/process/error_line.h"
#include "launcher/process/line_buffer.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxOutputBytes = 1 << 20;

/// Reads both streams as one until the program closes them. False: the deadline came first.
bool read_all(int fd, Deadline deadline, std::string& text) {
  char buffer[4096];
  while (!deadline.expired()) {
    pollfd readable{fd, POLLIN, 0};
    if (::poll(&readable, 1, static_cast<int>(deadline.remaining().count())) <= 0) continue;
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    const auto room = kMaxOutputBytes - text.size();
    text.append(buffer, std::min(room, static_cast<std::size_t>(got)));
  }
  return false;
}

std::optional<Error> find_error(const std::string& text) {
  std::optional<Error> found;
  LineBuffer lines(kMaxOutputBytes);
  const auto take = [&](std::string_view line) {
    if (std::optional<Error> error = parse_error_line(line)) found = std::move(error);
  };
  lines.feed(text, take);
  lines.finish(take);
  return found;
}

}  // namespace

Result<std::string> run_program(const std::vector<std::string>& argv, Deadline deadline) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kIo, "raise the limit of open files", "cannot make a pipe: {}",
                std::strerror(errno));
  }
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  ChildOptions options;
  options.argv = argv;
  options.standard_output = input.get();
  options.standard_error = input.get();
  DSL_ASSIGN(ChildProcess process, ChildProcess::start(options));
  input.reset();
  std::string text;
  if (!read_all(output.get(), deadline, text)) {
    return fail(ErrorCode::kDeadlineExceeded, "see whether the machine is overloaded",
                "{} did not end in time", argv.front());
  }
  const ExitStatus status = process.wait();
  if (status.ok()) return text;
  if (std::optional<Error> error = find_error(text)) {
    return tl::unexpected<Error>(*std::move(error));
  }
  return fail(ErrorCode::kRankFailed, "run it by hand to see more", "{} {}", argv.front(),
              status.to_string());
}

Error become_program(const std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (const std::string& argument : argv) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // NOLINT(bugprone-signal-handler)
  ::execv(pointers[0], pointers.data());
  return {ErrorCode::kIo, fmt::format("cannot start {}: {}", argv.front(), std::strerror(errno)),
          "check that it is installed and executable"};
}

}  // namespace dsl::launcher
