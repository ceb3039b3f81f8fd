// The installed programs as a user runs them, each test in a home of its own, and a look at what
// they leave behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace dsl::e2e {

struct CliResult {
  int exit_code = 0;  // 128 + n when signal n ended it
  std::string out;
  std::string err;
  double seconds = 0;
};

/// A running dslaunch; killed when this object goes.
class CliProcess {
 public:
  /// `environment` is the whole one.
  CliProcess(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
             const std::filesystem::path& folder, const std::string& input = "");
  ~CliProcess();
  CliProcess(const CliProcess&) = delete;
  CliProcess& operator=(const CliProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// What it has printed so far.
  std::string out() const;
  std::string err() const;
  /// Waits for its end, at most `patience`; then it is killed and the exit code is 137.
  CliResult wait(std::chrono::seconds patience);

 private:
  pid_t pid_ = 0;
  bool ended_ = false;
  std::filesystem::path out_;
  std::filesystem::path err_;
  std::chrono::steady_clock::time_point start_;
};

/// A home folder, an environment, and a mark in it by which every process of a test is found.
class CliHome {
 public:
  CliHome();
  ~CliHome();
  CliHome(const CliHome&) = delete;
  CliHome& operator=(const CliHome&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Sets a variable of all processes that are started from now on.
  void set(const std::string& name, const std::string& value) {
    variables_.push_back(name + "=" + value);
  }
  /// What every process of this home has in its environment.
  std::vector<std::string> environment() const;
  /// Starts `dslaunch arguments…` with `input` as its standard input.
  CliProcess start(const std::vector<std::string>& arguments, const std::string& input = "");
  /// The same to its end.
  CliResult run(const std::vector<std::string>& arguments,
                std::chrono::seconds patience = std::chrono::seconds(60),
                const std::string& input = "");

  /// Living processes of this home whose command line holds all of `words`, blank-separated as in
  /// ps.
  std::vector<pid_t> processes(const std::vector<std::string>& words = {}) const;
  /// Waits until such a process lives and returns it; 0 when none came.
  pid_t wait_for_process(const std::vector<std::string>& words,
                         std::chrono::seconds patience = std::chrono::seconds(30)) const;
  /// True when no process of this home is left, waiting a little for the last ones.
  bool is_quiet(std::chrono::seconds patience = std::chrono::seconds(5)) const;

 private:
  std::filesystem::path path_;
  std::string mark_;
  std::vector<std::string> variables_;
  int num_runs_ = 0;
};

/// Polls `condition` until it holds; false when it did not within `patience`.
template <typename Condition>
bool eventually(std::chrono::seconds patience, Condition condition);

}  // namespace dsl::e2e

#include <poll.h>

template <typename Condition>
bool dsl::e2e::eventually(std::chrono::seconds patience, Condition condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 10);
  }
  return true;
}
