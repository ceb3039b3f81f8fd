// A Wire that counts what goes over it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "transport/wire/wire.h"

namespace dsl::wire {

/// What one rank exchanged with one peer for one purpose since the start.
struct HopTraffic {
  int peer = 0;
  Channel channel = Channel::kTest;
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;
  double wait_s = 0;  // that this rank stood still for it
};

/// A wait that goes on.
struct CurrentWait {
  int peer = 0;
  Channel channel = Channel::kTest;
  double seconds = 0;
};

/// Owns the wire that does the work. traffic(), current_wait() and since_wait_s() are thread-safe;
/// the rest as of any Wire.
class MeasuredWire final : public Wire {
 public:
  explicit MeasuredWire(std::unique_ptr<Wire> wire);

  int rank() const override { return wire_->rank(); }
  int world_size() const override { return wire_->world_size(); }
  bool carries(MemoryType memory) const override { return wire_->carries(memory); }
  using Wire::receive;
  using Wire::send;
  Result<Request> send(int peer, Tag tag, ConstBytes data, MemoryType memory) override;
  Result<Request> receive(int peer, Tag tag, MutableBytes data, MemoryType memory) override;
  Status wait(Request request, Deadline deadline) override;
  Result<bool> done(Request request) override { return wire_->done(request); }
  std::vector<LinkReport> links() const override { return wire_->links(); }
  void abort(Error reason) override { wire_->abort(std::move(reason)); }

  /// Hops that nothing went over are left out.
  std::vector<HopTraffic> traffic() const;
  std::optional<CurrentWait> current_wait() const;
  /// Time since a wait last ended, in seconds; long before the first one.
  double since_wait_s() const;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kNumChannels = 16;  // that a tag has room for

  /// Written by the wire's thread, read by any.
  struct Hop {
    std::atomic<std::int64_t> sent_bytes{0};
    std::atomic<std::int64_t> received_bytes{0};
    std::atomic<std::int64_t> wait_ns{0};
  };
  struct Pending {
    std::uint64_t id = 0;
    std::size_t hop = 0;
    std::int64_t received_bytes = 0;  // when it ends well
  };

  std::unique_ptr<Wire> wire_;
  std::vector<Hop> hops_;         // by peer and channel
  std::vector<Pending> pending_;  // few at a time
  std::atomic<std::int64_t> waiting_hop_{-1};
  std::atomic<Clock::rep> waiting_since_{0};
  std::atomic<Clock::rep> last_wait_end_{0};
};

/// What a channel is for, in words: "plan", "pipeline", "tokens", "tensor" or "test".
std::string_view purpose_of(Channel channel);

}  // namespace dsl::wire
