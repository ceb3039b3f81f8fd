// A child process with its output captured, for tests of whole programs.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/unique_fd.h"

namespace dsl::serving {

/// Kills what still runs when it is destroyed. Thread-compatible.
class Child {
 public:
  Child(std::vector<std::string> argv, const std::optional<std::string>& secret) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    output_.reset(ends[0]);
    const UniqueFd input(ends[1]);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(input.get(), STDOUT_FILENO);
    ::dup2(input.get(), STDERR_FILENO);
    if (secret) ::setenv("DSLAUNCH_SECRET", secret->c_str(), 1);
    std::vector<char*> pointers;
    for (std::string& argument : argv) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  /// Reads output until `text` has come; false when the child ends or 60 s pass before.
  bool read_until(std::string_view text) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (text_.find(text) == std::string::npos) {
      if (!read_some(deadline)) return false;
    }
    return true;
  }

  /// The exit code, or 128 + the signal; nothing when it does not end by the deadline. Reads all
  /// output.
  std::optional<int> wait(Deadline deadline) {
    while (read_some(deadline)) {
    }
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (deadline.expired()) return std::nullopt;
      ::poll(nullptr, 0, 5);
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// Standard output and error so far.
  const std::string& text() const { return text_; }

 private:
  bool read_some(Deadline deadline) {
    pollfd entry{output_.get(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(deadline.remaining().count())) <= 0) return false;
    char buffer[4096];
    const ssize_t count = ::read(output_.get(), buffer, sizeof buffer);
    if (count <= 0) return false;
    text_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }

  pid_t pid_ = -1;
  UniqueFd output_;
  std::string text_;
};

}  // namespace dsl::serving
