// The Wire over connected UCX workers: waiting, failure and abort.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/unique_fd.h"
#include "transport/ucx/peer_processes.h"
#include "transport/ucx/worker.h"
#include "transport/wire/wire.h"

namespace dsl::ucx {

/// Waiting polls for `spin`, then sleeps with a bound, because some transports lose wake-ups.
/// Thread-compatible, except abort().
class ConnectedWire final : public wire::Wire {
 public:
  static Result<std::unique_ptr<ConnectedWire>> create(int rank, int world_size,
                                                       std::chrono::microseconds spin,
                                                       std::unique_ptr<Worker> worker);
  ~ConnectedWire() override;

  /// Connects to a peer's worker.
  Status add_peer(int peer, const std::string& address);
  /// Watches the process of a peer on this host.
  void watch_process(int peer, int pid) { processes_.watch(peer, pid, epoll_.get()); }
  /// Asks UCX what the links use; kTransport when it cannot be told.
  Status update_reports();
  /// Lets go of UCX for good: buffers are free, nothing is sent or received any more.
  void freeze() { frozen_ = true; }
  /// Lets UCX do its work; true when something happened.
  bool progress();

  int rank() const override { return rank_; }
  int world_size() const override { return static_cast<int>(peers_.size()); }
  bool carries(wire::MemoryType memory) const override { return worker_->carries(memory); }
  using Wire::receive;
  using Wire::send;
  Result<wire::Request> send(int peer, wire::Tag tag, ConstBytes data,
                             wire::MemoryType memory) override;
  Result<wire::Request> receive(int peer, wire::Tag tag, MutableBytes data,
                                wire::MemoryType memory) override;
  Status wait(wire::Request request, Deadline deadline) override;
  Result<bool> done(wire::Request request) override;
  std::vector<wire::LinkReport> links() const override;
  void abort(Error reason) override;

 private:
  struct Peer {
    Link* link = nullptr;
    std::optional<std::string> lost;  // why
    wire::LinkReport report;
  };
  struct Operation {
    int peer = 0;
    Transfer transfer;
    bool in_use = false;
  };

  ConnectedWire(int rank, int world_size, std::chrono::microseconds spin)
      : rank_(rank), spin_(spin), peers_(static_cast<std::size_t>(world_size)) {}

  Status check_usable(int peer, wire::MemoryType memory) const;
  wire::Request track(int peer, Transfer transfer);
  Operation& find(wire::Request request);

  Status finish(Operation& operation);
  Status give_up(Operation& operation, Error error);
  Error lost(int peer, std::string_view reason);
  std::optional<std::string> why_lost(int peer) const;
  Error abort_reason() const;
  void sleep(Deadline deadline);
  bool settle(Operation& operation);
  Error deadline_error(const Operation& operation) const;

  const int rank_;
  const std::chrono::microseconds spin_;
  std::unique_ptr<Worker> worker_;
  std::vector<Peer> peers_;
  UniqueFd epoll_;
  UniqueFd abort_event_;
  PeerProcesses processes_;
  std::vector<Operation> operations_;
  std::vector<std::uint64_t> free_;
  bool frozen_ =
      false;  // a transfer was abandoned: UCX must not run again, it could touch freed buffers

  std::atomic<bool> aborted_{false};
  mutable std::mutex abort_mutex_;
  std::optional<Error> abort_reason_;
};

}  // namespace dsl::ucx
