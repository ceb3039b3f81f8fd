#include "transport/ucx/connected_wire.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/ucx/lanes.h"

namespace dsl::ucx {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kNotAPeer = ~std::uint32_t{0};
constexpr unsigned kRoundsPerClockRead = 32;
constexpr unsigned kBusyRoundsPerCheck = 1024;
constexpr int kDrainRounds = 1000;
// The scheduler likes to put a process beside the one that woke it. Two ranks that poll on one core
// would wait for each other's whole spin time; a yield lets the other one answer.
constexpr std::chrono::microseconds kYieldAfter{20};
constexpr std::chrono::milliseconds kMaxSleep{10};
// When a link breaks, the membership often knows which rank failed first; it gets this long to say
// so.
constexpr std::chrono::milliseconds kRootCauseTime{250};
constexpr std::chrono::milliseconds kFlushTime{500};
constexpr std::string_view kPeerRemedy = "look at the log of that rank for the first error";

std::uint64_t ucx_tag(int sender, wire::Tag tag) {
  return (static_cast<std::uint64_t>(sender) << wire::kTagBits) | static_cast<std::uint64_t>(tag);
}

Status add_event(int epoll_fd, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = kNotAPeer;
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return fail(ErrorCode::kIo, "raise the limit of open files", "epoll_ctl: {}",
              std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<ConnectedWire>> ConnectedWire::create(int rank, int world_size,
                                                             std::chrono::microseconds spin,
                                                             std::unique_ptr<Worker> worker) {
  std::unique_ptr<ConnectedWire> wire(new ConnectedWire(rank, world_size, spin));
  wire->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  wire->abort_event_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wire->epoll_.valid() || !wire->abort_event_.valid()) {
    return fail(ErrorCode::kIo, "raise the limit of open files", "epoll and eventfd: {}",
                std::strerror(errno));
  }
  DSL_TRY(add_event(wire->epoll_.get(), wire->abort_event_.get()));
  DSL_TRY(add_event(wire->epoll_.get(), worker->event_fd()));
  wire->worker_ = std::move(worker);
  return wire;
}

ConnectedWire::~ConnectedWire() {
  for (Operation& operation : operations_) {
    if (operation.in_use) {
      (void)give_up(operation, Error{ErrorCode::kCancelled, "the wire is destroyed", {}});
    }
  }
  if (frozen_) {
    worker_->forsake();
  } else if (!aborted_.load()) {
    worker_->flush(Deadline::after(kFlushTime));
  }
}

Status ConnectedWire::add_peer(int peer, const std::string& address) {
  auto link = worker_->connect(address);
  if (!link) {
    return tl::unexpected(
        std::move(link).error().within(fmt::format("rank {} connects to rank {}", rank_, peer)));
  }
  peers_[static_cast<std::size_t>(peer)].link = *link;
  return {};
}

Status ConnectedWire::update_reports() {
  for (std::size_t peer = 0; peer < peers_.size(); ++peer) {
    Peer& entry = peers_[peer];
    if (entry.link == nullptr) continue;
    const std::string info = worker_->describe(*entry.link);
    const auto lane = parse_lanes(info);
    if (!lane) {
      return fail(ErrorCode::kTransport, "report this with the output of ucx_info -v",
                  "rank {} cannot tell what the link to rank {} uses; UCX says: {}", rank_, peer,
                  info);
    }
    entry.report = {static_cast<int>(peer), lane->transport, lane->device};
  }
  return {};
}

std::vector<wire::LinkReport> ConnectedWire::links() const {
  std::vector<wire::LinkReport> reports;
  for (const Peer& peer : peers_) {
    if (peer.link != nullptr) reports.push_back(peer.report);
  }
  return reports;
}

bool ConnectedWire::progress() { return !frozen_ && worker_->progress(); }

Status ConnectedWire::check_usable(int peer, wire::MemoryType memory) const {
  if (!carries(memory)) {
    return fail(ErrorCode::kInvalidArgument, "use a UCX that was built for it",
                "rank {}: UCX carries no {} memory", rank_, name_of(memory));
  }
  if (aborted_.load(std::memory_order_acquire)) return tl::unexpected(abort_reason());
  if (peer >= 0 && peer < world_size() && peers_[static_cast<std::size_t>(peer)].link != nullptr) {
    return {};
  }
  return fail(ErrorCode::kInvalidArgument, "",
              "rank {} of {} cannot exchange messages with rank {}", rank_, world_size(), peer);
}

wire::Request ConnectedWire::track(int peer, Transfer transfer) {
  if (free_.empty()) {
    free_.push_back(operations_.size());
    operations_.emplace_back();
  }
  const std::uint64_t id = free_.back();
  free_.pop_back();
  operations_[id] = {peer, transfer, true};
  return {id};
}

ConnectedWire::Operation& ConnectedWire::find(wire::Request request) {
  DSL_CHECK(request.id < operations_.size() && operations_[request.id].in_use,
            "request {} is not pending", request.id);
  return operations_[request.id];
}

Result<wire::Request> ConnectedWire::send(int peer, wire::Tag tag, ConstBytes data,
                                          wire::MemoryType memory) {
  DSL_TRY(check_usable(peer, memory));
  Link& link = *peers_[static_cast<std::size_t>(peer)].link;
  return track(peer, worker_->send(link, ucx_tag(rank_, tag), data, memory));
}

Result<wire::Request> ConnectedWire::receive(int peer, wire::Tag tag, MutableBytes data,
                                             wire::MemoryType memory) {
  DSL_TRY(check_usable(peer, memory));
  return track(peer, worker_->receive(ucx_tag(peer, tag), data, memory));
}

bool ConnectedWire::settle(Operation& operation) { return worker_->poll(operation.transfer); }

Result<bool> ConnectedWire::done(wire::Request request) {
  Operation& operation = find(request);
  if (settle(operation)) return true;
  progress();
  return settle(operation) || aborted_.load(std::memory_order_acquire) ||
         why_lost(operation.peer).has_value();
}

Status ConnectedWire::wait(wire::Request request, Deadline deadline) {
  Operation& operation = find(request);
  free_.push_back(request.id);
  std::optional<Clock::time_point> idle_since;
  for (unsigned round = 1;; ++round) {
    if (settle(operation)) return finish(operation);
    const bool busy = progress();
    if (busy && round % kBusyRoundsPerCheck != 0) continue;
    if (aborted_.load(std::memory_order_acquire)) return give_up(operation, abort_reason());
    if (const auto reason = why_lost(operation.peer)) {
      for (int i = 0; i < kDrainRounds && !settle(operation); ++i) progress();
      if (settle(operation)) return finish(operation);
      return give_up(operation, lost(operation.peer, *reason));
    }
    if (spin_.count() > 0 && round % kRoundsPerClockRead != 0) continue;
    const auto now = Clock::now();
    if (now >= deadline.time_point()) return give_up(operation, deadline_error(operation));
    if (!idle_since) idle_since = now;
    if (now - *idle_since >= spin_) {
      sleep(deadline);
    } else if (now - *idle_since >= kYieldAfter) {
      ::sched_yield();
    }
  }
}

Error ConnectedWire::deadline_error(const Operation& operation) const {
  const bool send = operation.transfer.direction == Transfer::Direction::kSend;
  return {ErrorCode::kDeadlineExceeded,
          fmt::format("rank {} waited for a message of {} bytes {} rank {} beyond its deadline",
                      rank_, operation.transfer.size, send ? "to" : "from", operation.peer),
          std::string(kPeerRemedy)};
}

Status ConnectedWire::finish(Operation& operation) {
  operation.in_use = false;
  Status status = worker_->outcome(operation.transfer);
  if (status) return status;
  if (status.error().code == ErrorCode::kPeerLost) {
    return tl::unexpected(lost(operation.peer, status.error().message));
  }
  return tl::unexpected(std::move(status).error().within(
      fmt::format("rank {} receives from rank {}", rank_, operation.peer)));
}

Status ConnectedWire::give_up(Operation& operation, Error error) {
  const bool receive = operation.transfer.direction == Transfer::Direction::kReceive;
  operation.in_use = false;
  if (frozen_) {
    worker_->abandon(operation.transfer);
  } else if (!(receive && worker_->cancel_receive(operation.transfer))) {
    worker_->force_close(*peers_[static_cast<std::size_t>(operation.peer)].link);
    for (int i = 0; i < kDrainRounds && !settle(operation); ++i) progress();
    if (!settle(operation)) {
      frozen_ = true;
      worker_->abandon(operation.transfer);
      abort(error);
    }
  }
  return tl::unexpected(std::move(error));
}

std::optional<std::string> ConnectedWire::why_lost(int peer) const {
  const Peer& entry = peers_[static_cast<std::size_t>(peer)];
  if (entry.lost) return entry.lost;
  if (entry.link->failed) return entry.link->reason;
  return std::nullopt;
}

Error ConnectedWire::lost(int peer, std::string_view reason) {
  pollfd entry{abort_event_.get(), POLLIN, 0};
  ::poll(&entry, 1, static_cast<int>(kRootCauseTime.count()));
  if (aborted_.load(std::memory_order_acquire)) return abort_reason();
  return {ErrorCode::kPeerLost, fmt::format("rank {} lost rank {}: {}", rank_, peer, reason),
          std::string(kPeerRemedy)};
}

void ConnectedWire::sleep(Deadline deadline) {
  if (!frozen_ && !worker_->arm()) return;
  epoll_event event{};
  const auto limit = std::min(kMaxSleep, deadline.remaining());
  if (::epoll_wait(epoll_.get(), &event, 1, static_cast<int>(limit.count())) < 1) return;
  if (event.data.u32 == kNotAPeer) return;
  const int peer = static_cast<int>(event.data.u32);
  peers_[event.data.u32].lost = "its process ended";
  processes_.forget(peer, epoll_.get());
}

Error ConnectedWire::abort_reason() const {
  const std::lock_guard lock(abort_mutex_);
  return *abort_reason_;
}

void ConnectedWire::abort(Error reason) {
  {
    const std::lock_guard lock(abort_mutex_);
    if (abort_reason_) return;
    abort_reason_ = std::move(reason);
  }
  aborted_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(abort_event_.get(), &one, sizeof(one));
}

}  // namespace dsl::ucx
