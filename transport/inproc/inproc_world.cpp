#include "transport/inproc/inproc_world.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dsl::inproc {
namespace {

constexpr std::string_view kPeerRemedy = "look at the log of that rank for the first error";

/// One side of a message. The state's mutex guards `stage` and `outcome`.
struct Operation {
  enum class Direction { kSend, kReceive };
  enum class Stage { kPosted, kCopying, kDone };

  Direction direction = Direction::kSend;
  int peer = 0;
  const std::byte* source = nullptr;  // of a send
  std::byte* target = nullptr;        // of a receive
  std::size_t size = 0;
  Stage stage = Stage::kPosted;
  Status outcome;
};
using OperationPtr = std::shared_ptr<Operation>;

struct MessageKey {
  int sender = 0;
  int receiver = 0;
  wire::Tag tag{};
  auto operator<=>(const MessageKey&) const = default;
};

/// Operations of one key that wait for their other side; at most one of the queues is non-empty.
struct Waiting {
  std::deque<OperationPtr> sends;
  std::deque<OperationPtr> receives;
};

}  // namespace

class World::State {
 public:
  explicit State(int size)
      : size_(size), woken_(size), made_(size), closed_(size), aborted_(size) {}

  int size() const { return size_; }

  void register_wire(int rank) {
    const std::lock_guard lock(mutex_);
    DSL_CHECK(rank >= 0 && rank < size_ && !made_[rank], "rank {} of {}", rank, size_);
    made_[rank] = true;
  }

  void close(int rank) {
    const std::lock_guard lock(mutex_);
    closed_[rank] = true;
    wake_all();
  }

  void abort(int rank, const Error& reason) {
    const std::lock_guard lock(mutex_);
    if (!aborted_[rank]) aborted_[rank] = reason;
    woken_[rank].notify_all();
  }

  Result<OperationPtr> post_send(const MessageKey& key, ConstBytes data) {
    auto operation = std::make_shared<Operation>();
    operation->peer = key.receiver;
    operation->source = data.data();
    operation->size = data.size();
    return post(key, key.sender, operation, &Waiting::sends, &Waiting::receives);
  }

  Result<OperationPtr> post_receive(const MessageKey& key, MutableBytes data) {
    auto operation = std::make_shared<Operation>();
    operation->direction = Operation::Direction::kReceive;
    operation->peer = key.sender;
    operation->target = data.data();
    operation->size = data.size();
    return post(key, key.receiver, operation, &Waiting::receives, &Waiting::sends);
  }

  bool done(int rank, const Operation& operation) {
    const std::lock_guard lock(mutex_);
    return operation.stage == Operation::Stage::kDone ||
           (operation.stage == Operation::Stage::kPosted && broken(rank, operation.peer));
  }

  Status wait(int rank, const OperationPtr& operation, Deadline deadline) {
    std::unique_lock lock(mutex_);
    while (operation->stage != Operation::Stage::kDone) {
      // A copy that another thread has begun uses this operation's buffer and ends by itself.
      const bool posted = operation->stage == Operation::Stage::kPosted;
      if (posted && broken(rank, operation->peer)) {
        withdraw(operation);
        return tl::unexpected(*broken(rank, operation->peer));
      }
      if (posted && deadline.expired()) {
        withdraw(operation);
        return fail(ErrorCode::kDeadlineExceeded, kPeerRemedy,
                    "rank {} waited for a message of {} bytes {} rank {} beyond its deadline", rank,
                    operation->size,
                    operation->direction == Operation::Direction::kSend ? "to" : "from",
                    operation->peer);
      }
      if (deadline.is_never()) {
        woken_[rank].wait(lock);
      } else {
        woken_[rank].wait_until(lock, deadline.time_point());
      }
    }
    return operation->outcome;
  }

 private:
  using Queue = std::deque<OperationPtr> Waiting::*;

  Result<OperationPtr> post(const MessageKey& key, int self, OperationPtr operation, Queue own,
                            Queue other) {
    std::unique_lock lock(mutex_);
    if (aborted_[self]) return tl::unexpected(*aborted_[self]);
    Waiting& waiting = waiting_[key];
    if ((waiting.*other).empty()) {
      if (auto error = broken(self, operation->peer)) {
        if (waiting.sends.empty() && waiting.receives.empty()) waiting_.erase(key);
        return tl::unexpected(*std::move(error));
      }
      (waiting.*own).push_back(operation);
      return operation;
    }
    OperationPtr match = (waiting.*other).front();
    (waiting.*other).pop_front();
    if (waiting.sends.empty() && waiting.receives.empty()) waiting_.erase(key);
    transfer(lock, key, operation, match);
    return operation;
  }

  /// Copies outside the lock: both buffers belong to the operations until they are done.
  void transfer(std::unique_lock<std::mutex>& lock, const MessageKey& key, const OperationPtr& a,
                const OperationPtr& b) {
    Operation& send = a->direction == Operation::Direction::kSend ? *a : *b;
    Operation& receive = &send == a.get() ? *b : *a;
    send.stage = receive.stage = Operation::Stage::kCopying;
    if (send.size != receive.size) {
      receive.outcome = fail(ErrorCode::kProtocol, "run the same build and options on every rank",
                             "rank {} expected {} bytes from rank {}, which sent {}", key.receiver,
                             receive.size, key.sender, send.size);
    } else if (send.size > 0) {
      lock.unlock();
      std::memcpy(receive.target, send.source, send.size);
      lock.lock();
    }
    send.stage = receive.stage = Operation::Stage::kDone;
    woken_[key.sender].notify_all();
    woken_[key.receiver].notify_all();
  }

  /// Why an operation between rank and peer cannot complete, if so.
  std::optional<Error> broken(int rank, int peer) const {
    if (aborted_[rank]) return aborted_[rank];
    if (closed_[peer]) {
      return Error{ErrorCode::kPeerLost, fmt::format("rank {} has closed its wire", peer),
                   std::string(kPeerRemedy)};
    }
    return std::nullopt;
  }

  void withdraw(const OperationPtr& operation) {
    for (auto& [key, waiting] : waiting_) {
      std::erase(waiting.sends, operation);
      std::erase(waiting.receives, operation);
    }
  }

  void wake_all() {
    for (auto& condition : woken_) condition.notify_all();
  }

  const int size_;
  std::mutex mutex_;
  std::vector<std::condition_variable> woken_;
  std::vector<char> made_;
  std::vector<char> closed_;
  std::vector<std::optional<Error>> aborted_;
  std::map<MessageKey, Waiting> waiting_;
};

class World::InprocWire final : public wire::Wire {
 public:
  InprocWire(std::shared_ptr<State> state, int rank) : state_(std::move(state)), rank_(rank) {
    state_->register_wire(rank_);
  }
  ~InprocWire() override {
    // Operations that were never waited for must not leave their buffers in the queues.
    for (auto& [id, operation] : pending_) {
      (void)state_->wait(rank_, operation, Deadline::after(std::chrono::seconds(0)));
    }
    state_->close(rank_);
  }

  int rank() const override { return rank_; }
  int world_size() const override { return state_->size(); }

  bool carries(wire::MemoryType memory) const override { return memory == wire::MemoryType::kHost; }
  using Wire::receive;
  using Wire::send;

  Result<wire::Request> send(int peer, wire::Tag tag, ConstBytes data,
                             wire::MemoryType memory) override {
    DSL_TRY(check_peer(peer));
    DSL_TRY(check_memory(memory));
    return track(state_->post_send({rank_, peer, tag}, data));
  }

  Result<wire::Request> receive(int peer, wire::Tag tag, MutableBytes data,
                                wire::MemoryType memory) override {
    DSL_TRY(check_peer(peer));
    DSL_TRY(check_memory(memory));
    return track(state_->post_receive({peer, rank_, tag}, data));
  }

  Status wait(wire::Request request, Deadline deadline) override {
    const auto found = pending_.find(request.id);
    DSL_CHECK(found != pending_.end(), "request {} is not pending", request.id);
    const OperationPtr operation = std::move(found->second);
    pending_.erase(found);
    return state_->wait(rank_, operation, deadline);
  }

  Result<bool> done(wire::Request request) override {
    const auto found = pending_.find(request.id);
    DSL_CHECK(found != pending_.end(), "request {} is not pending", request.id);
    return state_->done(rank_, *found->second);
  }

  std::vector<wire::LinkReport> links() const override {
    std::vector<wire::LinkReport> reports;
    for (int peer = 0; peer < world_size(); ++peer) {
      if (peer != rank_) reports.push_back({peer, "inproc", "memory"});
    }
    return reports;
  }

  void abort(Error reason) override { state_->abort(rank_, reason); }

 private:
  Status check_peer(int peer) const {
    if (peer >= 0 && peer < world_size() && peer != rank_) return {};
    return fail(ErrorCode::kInvalidArgument, "",
                "rank {} of {} cannot exchange messages with rank {}", rank_, world_size(), peer);
  }

  Status check_memory(wire::MemoryType memory) const {
    if (carries(memory)) return {};
    return fail(ErrorCode::kInvalidArgument, "",
                "rank {}: the wire inside a process carries no {} memory", rank_, name_of(memory));
  }

  Result<wire::Request> track(Result<OperationPtr> operation) {
    if (!operation) return tl::unexpected(std::move(operation).error());
    const std::uint64_t id = next_id_++;
    pending_.emplace(id, *std::move(operation));
    return wire::Request{id};
  }

  std::shared_ptr<State> state_;
  const int rank_;
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, OperationPtr> pending_;
};

World::World(int size) : state_(std::make_shared<State>(size)) {
  DSL_CHECK(size >= 1 && size <= wire::kMaxWorldSize, "world size {}", size);
}

World::~World() = default;

int World::size() const { return state_->size(); }

std::unique_ptr<wire::Wire> World::make_wire(int rank) {
  return std::make_unique<InprocWire>(state_, rank);
}

void World::abort_all(const Error& reason) {
  for (int rank = 0; rank < size(); ++rank) state_->abort(rank, reason);
}

}  // namespace dsl::inproc
