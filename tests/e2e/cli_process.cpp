#include "tests/e2e/cli_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>

namespace dsl::e2e {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool is_zombie(const std::filesystem::path& process) {
  const std::string stat = read_file(process / "stat");
  const std::size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || stat.size() < name_end + 3 || stat[name_end + 2] == 'Z' ||
         stat[name_end + 2] == 'X';
}

}  // namespace

CliProcess::CliProcess(const std::vector<std::string>& argv,
                       const std::vector<std::string>& environment,
                       const std::filesystem::path& folder, const std::string& input)
    : out_(folder / "out"), err_(folder / "err"), start_(std::chrono::steady_clock::now()) {
  std::vector<char*> envp;
  for (const std::string& variable : environment) {
    envp.push_back(const_cast<char*>(variable.c_str()));
  }
  envp.push_back(nullptr);
  std::vector<char*> words;
  for (const std::string& argument : argv) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const std::filesystem::path in = folder / "in";
  std::ofstream(in) << input;
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), 0);
    ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::execve(words[0], words.data(), envp.data());
    ::_exit(127);
  }
}

CliProcess::~CliProcess() {
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string CliProcess::out() const { return read_file(out_); }
std::string CliProcess::err() const { return read_file(err_); }

CliResult CliProcess::wait(std::chrono::seconds patience) {
  int status = 0;
  const bool in_time =
      eventually(patience, [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
  if (!in_time) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
  }
  ended_ = true;
  CliResult result;
  result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  result.out = out();
  result.err = err();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  return result;
}

CliHome::CliHome() {
  std::string pattern = (std::filesystem::temp_directory_path() / "dslaunch-cli-XXXXXX").string();
  EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
  path_ = pattern;
  mark_ = "DSL_TEST_HOME=" + pattern;
}

CliHome::~CliHome() {
  for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

CliProcess CliHome::start(const std::vector<std::string>& arguments, const std::string& input) {
  std::vector<std::string> argv = {DSL_DSLAUNCH};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const std::filesystem::path folder = path_ / ("run-" + std::to_string(++num_runs_));
  std::filesystem::create_directory(folder);
  return CliProcess(argv, environment(), folder, input);
}

std::vector<std::string> CliHome::environment() const {
  // No Slurm here: a cluster of the machine must not be seen.
  std::vector<std::string> given = {mark_, "HOME=" + path_.string(),
                                    "XDG_STATE_HOME=", "DSLAUNCH_SLURM_MODULE=/nonexistent"};
  given.insert(given.end(), variables_.begin(), variables_.end());
  std::map<std::string, std::string> by_name;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string assignment = *variable;
    by_name[assignment.substr(0, assignment.find('='))] = assignment;
  }
  for (const std::string& assignment : given) {
    by_name[assignment.substr(0, assignment.find('='))] = assignment;
  }
  std::vector<std::string> all;
  for (const auto& [name, assignment] : by_name) all.push_back(assignment);
  return all;
}

CliResult CliHome::run(const std::vector<std::string>& arguments, std::chrono::seconds patience,
                       const std::string& input) {
  CliProcess process = start(arguments, input);
  return process.wait(patience);
}

std::vector<pid_t> CliHome::processes(const std::vector<std::string>& words) const {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == ::getpid() || is_zombie(entry.path())) continue;
    if (read_file(entry.path() / "environ").find(mark_) == std::string::npos) continue;
    std::string line = " " + read_file(entry.path() / "cmdline");
    std::replace(line.begin(), line.end(), '\0', ' ');
    const bool has_all = std::all_of(words.begin(), words.end(), [&](const std::string& word) {
      return line.find(word) != std::string::npos;
    });
    if (has_all) found.push_back(pid);
  }
  return found;
}

pid_t CliHome::wait_for_process(const std::vector<std::string>& words,
                                std::chrono::seconds patience) const {
  std::vector<pid_t> found;
  eventually(patience, [&] { return !(found = processes(words)).empty(); });
  return found.empty() ? 0 : found.front();
}

bool CliHome::is_quiet(std::chrono::seconds patience) const {
  return eventually(patience, [&] { return processes().empty(); });
}

}  // namespace dsl::e2e
