#include "tests/integration/slurm/cluster.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

extern char** environ;

namespace dsl::slurm_test {
namespace {

namespace fs = std::filesystem;

/// Starts `command` with these three streams; the pid, or -1.
pid_t spawn(const std::vector<std::string>& command, int in, int out, int err) {
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe make_pipe() {
  int ends[2];
  DSL_CHECK(pipe2(ends, O_CLOEXEC) == 0, "pipe2: {}", std::strerror(errno));
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::optional<std::string> find_reason_to_skip() {
  if (geteuid() != 0) return "a Slurm cluster of network namespaces needs root";
  for (const char* program : {"/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd",
                              "/usr/bin/sinfo", "/usr/bin/srun"}) {
    if (access(program, X_OK) != 0) {
      return fmt::format("{} is missing: .ci/install-packages slurm", program);
    }
  }
  const std::string name = fmt::format("dsl-try-{}", getpid());
  if (run({"ip", "netns", "add", name}).exit_status != 0) {
    return "this machine lets nobody make network namespaces";
  }
  run({"ip", "netns", "delete", name});
  return std::nullopt;
}

}  // namespace

Finished run(const std::vector<std::string>& command) {
  const UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  Pipe pipe = make_pipe();
  const pid_t pid = spawn(command, null.get(), pipe.write_end.get(), pipe.write_end.get());
  if (pid < 0) return {127, "cannot start " + command[0]};
  pipe.write_end.reset();
  Finished finished;
  char buffer[4096];
  for (ssize_t n; (n = read(pipe.read_end.get(), buffer, sizeof buffer)) > 0;) {
    finished.output.append(buffer, static_cast<std::size_t>(n));
  }
  finished.exit_status = wait_for(pid);
  return finished;
}

std::optional<std::string> Cluster::reason_to_skip() {
  static const std::optional<std::string> reason = find_reason_to_skip();
  return reason;
}

Result<std::unique_ptr<Cluster>> Cluster::start() {
  std::string pattern = (fs::temp_directory_path() / "dsl-slurm-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    return fail(ErrorCode::kIo, "", "mkdtemp {}: {}", pattern, std::strerror(errno));
  }
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  const pid_t keeper = spawn({CLUSTER_SCRIPT, "run", pattern}, in.read_end.get(),
                             out.write_end.get(), STDERR_FILENO);
  if (keeper < 0) return fail(ErrorCode::kIo, "", "cannot start {}", CLUSTER_SCRIPT);
  out.write_end.reset();
  std::unique_ptr<Cluster> cluster(new Cluster(pattern, keeper, std::move(in.write_end)));
  char line[16] = {};
  if (read(out.read_end.get(), line, sizeof line - 1) <= 0 || std::strcmp(line, "ready\n") != 0) {
    return fail(ErrorCode::kInternal, "see the lines above", "the Slurm cluster did not come up");
  }
  return cluster;
}

Cluster::Cluster(fs::path folder, pid_t keeper, UniqueFd keep_alive)
    : folder_(std::move(folder)), keeper_(keeper), keep_alive_(std::move(keep_alive)) {}

Cluster::~Cluster() {
  keep_alive_.reset();
  wait_for(keeper_);
}

Finished Cluster::on(const std::string& host, std::vector<std::string> command) const {
  command.insert(command.begin(), {CLUSTER_SCRIPT, "on", folder_.string(), host});
  return run(command);
}

Finished Cluster::control(const std::string& action, const std::string& what) const {
  return run({CLUSTER_SCRIPT, action, folder_.string(), what});
}

Status Cluster::enter_network() const {
  std::string prefix;
  std::ifstream(folder_ / "prefix") >> prefix;
  const std::string path = fmt::format("/run/netns/{}-ctl", prefix);
  const UniqueFd network(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!network.valid() || setns(network.get(), CLONE_NEWNET) != 0) {
    return fail(ErrorCode::kIo, "", "enter {}: {}", path, std::strerror(errno));
  }
  return {};
}

Cluster* shared_cluster() {
  static const std::unique_ptr<Cluster> cluster = []() -> std::unique_ptr<Cluster> {
    if (Cluster::reason_to_skip()) return nullptr;
    auto started = Cluster::start();
    DSL_CHECK(started.has_value(), "{}", started.error().to_string());
    const Status entered = (*started)->enter_network();
    DSL_CHECK(entered.has_value(), "{}", entered.error().to_string());
    return std::move(*started);
  }();
  return cluster.get();
}

}  // namespace dsl::slurm_test
