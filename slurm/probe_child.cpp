#include "slurm/probe_child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "slurm/module/probe_exit.h"
#include "transport/base/unique_fd.h"

extern char** environ;

namespace dsl::slurm {
namespace {

constexpr std::size_t kMaxOutput = 65536;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kIo, "close other programs or raise ulimit -n", "pipe: {}",
                std::strerror(errno));
  }
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// A child process that is killed and reaped when this goes out of scope. Move-only by omission.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    wait();
  }
  /// Blocks until the child has ended; its wait status.
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_;
};

/// What the child wrote until it closed both streams.
struct Output {
  std::string out;
  std::string err;
};

/// None: the deadline came first.
std::optional<Output> read_until_closed(Pipe& out, Pipe& err, Deadline deadline) {
  Output output;
  std::array<pollfd, 2> polled{pollfd{out.read_end.get(), POLLIN, 0},
                               pollfd{err.read_end.get(), POLLIN, 0}};
  std::string* const texts[] = {&output.out, &output.err};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    if (deadline.expired()) return std::nullopt;
    const int ready =
        poll(polled.data(), polled.size(), static_cast<int>(deadline.remaining().count()) + 1);
    if (ready < 0 && errno != EINTR) return std::nullopt;
    if (ready <= 0) continue;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t count = read(polled[i].fd, buffer, sizeof buffer);
      if (count <= 0) {
        polled[i].fd = -1;  // poll() skips negative descriptors
      } else if (texts[i]->size() < kMaxOutput) {
        texts[i]->append(buffer, static_cast<std::size_t>(count));
      }
    }
  }
  return output;
}

/// The last line libslurm wrote before it ended the process, without its "program: fatal: ".
std::string last_words(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  std::string_view line = text.substr(text.rfind('\n') + 1);
  for (const std::string_view word : {"fatal: ", "error: "}) {
    if (const std::size_t at = line.find(word); at != std::string_view::npos) {
      line.remove_prefix(at + word.size());
    }
  }
  return line.empty() ? "it ended without a word" : std::string(line);
}

/// The error that the probe printed as "CODE<tab>message<tab>remedy".
std::optional<Error> printed_error(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  const std::size_t first = line.find('\t');
  const std::size_t second = first == std::string_view::npos ? first : line.find('\t', first + 1);
  int code = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), code);
  if (second == std::string_view::npos || error != std::errc() || end != line.data() + first) {
    return std::nullopt;
  }
  return Error{static_cast<ErrorCode>(code),
               std::string(line.substr(first + 1, second - first - 1)),
               std::string(line.substr(second + 1))};
}

}  // namespace

Status probe_cluster(const std::filesystem::path& module,
                     const std::optional<std::filesystem::path>& config, Deadline deadline) {
  const std::string program = module.parent_path() / "dsl_slurm_probe";
  DSL_ASSIGN(Pipe out, make_pipe());
  DSL_ASSIGN(Pipe err, make_pipe());

  std::vector<std::string> words{program, module};
  if (config) words.push_back(*config);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write_end.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end.get(), STDERR_FILENO);
  pid_t pid = 0;
  const int spawned = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) {
    return fail(ErrorCode::kSlurmUnavailable, "install dsl_slurm_probe beside the module",
                "Slurm: cannot start {}: {}", program, std::strerror(spawned));
  }
  Child child(pid);
  out.write_end.reset();
  err.write_end.reset();

  const std::string where = config ? config->string() : "the default configuration";
  const auto output = read_until_closed(out, err, deadline);
  if (!output) {
    return fail(ErrorCode::kSlurmController,
                "see that the host in SLURM_CONF is right and that slurmctld runs (scontrol ping)",
                "Slurm: no answer from the controller of {} before the deadline", where);
  }
  const int status = child.wait();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kProbeRefused) {
    if (auto error = printed_error(output->out)) return tl::unexpected<Error>(std::move(*error));
  }
  return fail(ErrorCode::kSlurmUnavailable,
              "correct the configuration or point SLURM_CONF to the right one",
              "Slurm: {} is not usable: {}", where, last_words(output->err));
}

}  // namespace dsl::slurm
