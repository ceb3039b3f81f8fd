#include "tests/unit/transport/forked_ranks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>

namespace dsl::testing {
namespace {

std::array<UniqueFd, 2> make_pipe() {
  int fds[2] = {-1, -1};
  if (::pipe2(fds, O_CLOEXEC) != 0) std::abort();
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void write_all(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count <= 0) return;
    done += static_cast<std::size_t>(count);
  }
}

/// All bytes until the other end closes; nullopt at the deadline.
std::optional<std::string> read_all(int fd, Deadline deadline) {
  std::string text;
  std::array<char, 4096> chunk;
  while (true) {
    pollfd entry{fd, POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(deadline.remaining().count())) <= 0) return std::nullopt;
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace

struct ForkedRanks::Heard {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, std::deque<std::string>> reports;
  std::optional<std::string> failure;
};

const std::string& ForkedRanks::secret() {
  static const std::string value = "correct horse battery staple";
  return value;
}

bootstrap::MembershipOptions ForkedRanks::membership(const ForkedRanksOptions& options, int rank,
                                                     const std::string& address) {
  return {.server_address = address,
          .rank = rank,
          .world_size = options.world_size,
          .secret = secret(),
          .heartbeat_interval = options.heartbeat_interval,
          .failure_deadline = options.failure_deadline};
}

ForkedRanks::ForkedRanks(ForkedRanksOptions options, const RankBody& body)
    : heard_(std::make_shared<Heard>()) {
  std::fflush(nullptr);
  for (int rank = 0; rank < options.world_size; ++rank) {
    auto [address_read, address_write] = make_pipe();
    auto [result_read, result_write] = make_pipe();
    const pid_t pid = ::fork();
    if (pid < 0) std::abort();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      children_.clear();
      address_write.reset();
      result_read.reset();
      const auto address = read_all(address_read.get(), Deadline::never());
      write_all(result_write.get(), body(rank, *address));
      result_write.reset();
      ::_exit(0);
    }
    children_.push_back({pid, std::move(address_write), std::move(result_read)});
  }
  bootstrap::RendezvousEvents events;
  events.reported = [heard = heard_](int rank, const std::string& text) {
    const std::lock_guard lock(heard->mutex);
    heard->reports[rank].push_back(text);
    heard->changed.notify_all();
  };
  events.failed = [heard = heard_](int rank, const Error& error) {
    const std::lock_guard lock(heard->mutex);
    heard->failure = fmt::format("{}: {}", rank, error.to_string());
    heard->changed.notify_all();
  };
  auto server =
      bootstrap::RendezvousServer::start({.listen_host = options.listen_host,
                                          .world_size = options.world_size,
                                          .secret = secret(),
                                          .heartbeat_interval = options.heartbeat_interval,
                                          .failure_deadline = options.failure_deadline},
                                         events);
  if (!server) std::abort();
  server_ = *std::move(server);
  for (Child& child : children_) {
    write_all(child.address.get(), server_->address());
    child.address.reset();
  }
}

ForkedRanks::~ForkedRanks() {
  for (Child& child : children_) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
  }
}

void ForkedRanks::signal(int rank, int number) const { ::kill(pid(rank), number); }

std::optional<std::string> ForkedRanks::wait_report(int rank, Deadline deadline) {
  std::unique_lock lock(heard_->mutex);
  auto& queue = heard_->reports[rank];
  if (!heard_->changed.wait_until(lock, deadline.time_point(), [&] { return !queue.empty(); })) {
    return std::nullopt;
  }
  std::string text = std::move(queue.front());
  queue.pop_front();
  return text;
}

std::optional<std::string> ForkedRanks::result(int rank, Deadline deadline) {
  auto text = read_all(children_.at(static_cast<std::size_t>(rank)).result.get(), deadline);
  if (text && text->empty()) return std::nullopt;
  return text;
}

std::optional<std::string> ForkedRanks::failure() {
  const std::lock_guard lock(heard_->mutex);
  return heard_->failure;
}

int count_open_fds() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count - 1;  // the iterator's own
}

}  // namespace dsl::testing
