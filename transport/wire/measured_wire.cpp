#include "transport/wire/measured_wire.h"

#include <algorithm>

namespace dsl::wire {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::size_t channel_of(Tag tag) { return (static_cast<std::uint64_t>(tag) >> 48) & 0xf; }

/// There is one writer, so no addition needs to be atomic.
void add(std::atomic<std::int64_t>& count, std::int64_t value) {
  count.store(count.load(kRelaxed) + value, kRelaxed);
}

}  // namespace

MeasuredWire::MeasuredWire(std::unique_ptr<Wire> wire)
    : wire_(std::move(wire)), hops_(static_cast<std::size_t>(wire_->world_size()) * kNumChannels) {}

Result<Request> MeasuredWire::send(int peer, Tag tag, ConstBytes data, MemoryType memory) {
  DSL_ASSIGN(const Request request, wire_->send(peer, tag, data, memory));
  const std::size_t hop = static_cast<std::size_t>(peer) * kNumChannels + channel_of(tag);
  add(hops_[hop].sent_bytes, static_cast<std::int64_t>(data.size()));
  pending_.push_back({request.id, hop, 0});
  return request;
}

Result<Request> MeasuredWire::receive(int peer, Tag tag, MutableBytes data, MemoryType memory) {
  DSL_ASSIGN(const Request request, wire_->receive(peer, tag, data, memory));
  const std::size_t hop = static_cast<std::size_t>(peer) * kNumChannels + channel_of(tag);
  pending_.push_back({request.id, hop, static_cast<std::int64_t>(data.size())});
  return request;
}

Status MeasuredWire::wait(Request request, Deadline deadline) {
  const auto found = std::find_if(pending_.begin(), pending_.end(),
                                  [&](const Pending& pending) { return pending.id == request.id; });
  DSL_CHECK(found != pending_.end(), "request {} is not pending", request.id);
  const Pending waited = *found;
  *found = pending_.back();
  pending_.pop_back();

  const auto begin = Clock::now();
  // In this order: a reader that sees the hop sees since when, too.
  waiting_since_.store(begin.time_since_epoch().count(), kRelaxed);
  waiting_hop_.store(static_cast<std::int64_t>(waited.hop), std::memory_order_release);
  Status status = wire_->wait(request, deadline);
  const auto end = Clock::now();
  last_wait_end_.store(end.time_since_epoch().count(), kRelaxed);
  waiting_hop_.store(-1, std::memory_order_release);
  Hop& hop = hops_[waited.hop];
  add(hop.wait_ns, std::chrono::nanoseconds(end - begin).count());
  if (status) add(hop.received_bytes, waited.received_bytes);
  return status;
}

std::vector<HopTraffic> MeasuredWire::traffic() const {
  std::vector<HopTraffic> all;
  for (std::size_t i = 0; i < hops_.size(); ++i) {
    const Hop& hop = hops_[i];
    const HopTraffic traffic{static_cast<int>(i / kNumChannels),
                             static_cast<Channel>(i % kNumChannels), hop.sent_bytes.load(kRelaxed),
                             hop.received_bytes.load(kRelaxed),
                             static_cast<double>(hop.wait_ns.load(kRelaxed)) * 1e-9};
    if (traffic.sent_bytes + traffic.received_bytes > 0) all.push_back(traffic);
  }
  return all;
}

std::optional<CurrentWait> MeasuredWire::current_wait() const {
  const std::int64_t hop = waiting_hop_.load(std::memory_order_acquire);
  if (hop < 0) return std::nullopt;
  const Clock::time_point since{Clock::duration(waiting_since_.load(kRelaxed))};
  const auto index = static_cast<std::size_t>(hop);
  return CurrentWait{static_cast<int>(index / kNumChannels),
                     static_cast<Channel>(index % kNumChannels),
                     std::chrono::duration<double>(Clock::now() - since).count()};
}

double MeasuredWire::since_wait_s() const {
  const Clock::time_point end{Clock::duration(last_wait_end_.load(kRelaxed))};
  return std::chrono::duration<double>(Clock::now() - end).count();
}

std::string_view purpose_of(Channel channel) {
  switch (channel) {
    case Channel::kPlan:
      return "plan";
    case Channel::kActivation:
      return "pipeline";
    case Channel::kTokens:
      return "tokens";
    case Channel::kCollective:
      return "tensor";
    case Channel::kTest:
      break;
  }
  return "test";
}

}  // namespace dsl::wire
