#include "launcher/supervisor/rank_group.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <mutex>
#include <thread>

#include "launcher/deployment/log_folder.h"
#include "launcher/process/error_line.h"
#include "launcher/process/line_buffer.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxRankLineBytes = 16384;

/// One rank, its output and what is to be told of it.
struct WatchedRank {
  WatchedRank(int rank_number, ChildProcess child) : rank(rank_number), process(std::move(child)) {
    exit.rank = rank;
  }

  int rank;
  ChildProcess process;
  UniqueFd output;
  UniqueFd log;
  LineBuffer lines{kMaxRankLineBytes};
  RankExit exit;
  bool ended = false;

  void take_line(std::string_view line) {
    if (line.empty()) return;
    if (std::optional<Error> error = parse_error_line(line)) exit.error = std::move(error);
    exit.last_line = line;
    dsl::log(LogLevel::kDebug, "rank {}: {}", rank, line);
  }

  /// Reads what the rank has written; closes the pipe at its end.
  void read_output() {
    char buffer[8192];
    while (output.valid()) {
      const ssize_t got = ::read(output.get(), buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return output.reset();
      const std::string_view bytes(buffer, static_cast<std::size_t>(got));
      if (log.valid() && ::write(log.get(), bytes.data(), bytes.size()) < 0) {
        dsl::log(LogLevel::kWarning, "the log of rank {} ends: {}", rank, std::strerror(errno));
        log.reset();
      }
      lines.feed(bytes, [this](std::string_view line) { take_line(line); });
    }
  }
};

Result<UniqueFd> open_log(const std::filesystem::path& folder, int rank) {
  if (folder.empty()) return UniqueFd();
  const std::filesystem::path path = folder / rank_log_name(rank);
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    return fail(ErrorCode::kIo, "check the folder's permissions and the disk's free space",
                "cannot write {}: {}", path.string(), std::strerror(errno));
  }
  return fd;
}

Result<std::unique_ptr<WatchedRank>> start_rank(const RankCommand& command,
                                                const RankGroupOptions& options) {
  DSL_ASSIGN(UniqueFd log, open_log(options.log_folder, command.rank));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kIo, "raise the limit of open files", "cannot make a pipe: {}",
                std::strerror(errno));
  }
  UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);
  ChildOptions child;
  child.argv = command.argv;
  child.environment = options.environment;
  child.cpus = command.cpus;
  child.standard_output = input.get();
  child.standard_error = input.get();
  DSL_ASSIGN(ChildProcess process, ChildProcess::start(child));
  auto rank = std::make_unique<WatchedRank>(command.rank, std::move(process));
  rank->output = std::move(output);
  rank->log = std::move(log);
  return rank;
}

}  // namespace

struct RankGroup::Impl {
  std::mutex mutex;  // guards `ranks` against signals from other threads
  std::condition_variable all_ended;
  std::vector<std::unique_ptr<WatchedRank>> ranks;
  std::size_t num_running = 0;
  bool closing = false;
  UniqueFd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  RankExitSink on_exit;
  std::thread watcher;

  void signal_all(int number) {
    const std::lock_guard lock(mutex);
    for (const auto& rank : ranks) {
      if (!rank->ended) rank->process.signal(number);
    }
  }

  void collect(WatchedRank& rank) {
    rank.read_output();
    {
      const std::lock_guard lock(mutex);
      const std::optional<ExitStatus> status = rank.process.try_wait();
      if (!status) return;
      rank.ended = true;
      rank.exit.status = *status;
    }
    rank.read_output();
    rank.lines.finish([&rank](std::string_view line) { rank.take_line(line); });
    rank.output.reset();
    on_exit(rank.exit);
    const std::lock_guard lock(mutex);
    if (--num_running == 0) all_ended.notify_all();
  }

  void watch() {
    std::vector<pollfd> polled;
    while (true) {
      polled.assign(1, pollfd{wake.get(), POLLIN, 0});
      for (const auto& rank : ranks) {
        if (rank->ended) continue;
        polled.push_back({rank->process.pidfd(), POLLIN, 0});
        if (rank->output.valid()) polled.push_back({rank->output.get(), POLLIN, 0});
      }
      {
        const std::lock_guard lock(mutex);
        if (closing) return;
      }
      if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
      for (const auto& rank : ranks) {
        if (!rank->ended) collect(*rank);
      }
    }
  }

  void stop_watching() {
    {
      const std::lock_guard lock(mutex);
      closing = true;
    }
    ::eventfd_write(wake.get(), 1);
    if (watcher.joinable()) watcher.join();
  }
};

RankGroup::RankGroup(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RankGroup::~RankGroup() {
  if (!wait(Deadline::after(std::chrono::seconds(0)))) {
    kill();
    wait(Deadline::after(std::chrono::seconds(5)));
  }
  impl_->stop_watching();
}

Result<std::unique_ptr<RankGroup>> RankGroup::start(const RankGroupOptions& options,
                                                    RankExitSink on_exit) {
  auto impl = std::make_unique<Impl>();
  impl->on_exit = std::move(on_exit);
  for (const RankCommand& command : options.ranks) {
    DSL_ASSIGN(std::unique_ptr<WatchedRank> rank, start_rank(command, options));
    impl->ranks.push_back(std::move(rank));
  }
  impl->num_running = impl->ranks.size();
  Impl* watched = impl.get();
  impl->watcher = std::thread([watched] { watched->watch(); });
  return std::unique_ptr<RankGroup>(new RankGroup(std::move(impl)));
}

void RankGroup::terminate() { impl_->signal_all(SIGTERM); }

void RankGroup::kill() { impl_->signal_all(SIGKILL); }

bool RankGroup::wait(Deadline deadline) {
  std::unique_lock lock(impl_->mutex);
  return impl_->all_ended.wait_for(lock, deadline.remaining(),
                                   [this] { return impl_->num_running == 0; });
}

}  // namespace dsl::launcher
