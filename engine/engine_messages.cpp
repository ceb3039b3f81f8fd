#include "engine/engine_messages.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/parallel/tensor_parallel.h"

namespace dsl::engine {
namespace {

constexpr std::size_t kFrameBytes = 1024;
constexpr std::size_t kInlineBytes = kFrameBytes - sizeof(std::uint64_t);
/// A longer plan is not believed: it would announce about 2^26 tokens at once.
constexpr std::uint64_t kMaxPlanBytes = std::uint64_t{1} << 28;
constexpr std::uint8_t kFrameLane = 0;
constexpr std::uint8_t kRestLane = 1;

const auto kAtOnce = std::chrono::seconds(0);

}  // namespace

Outbox::~Outbox() {
  for (const Send& send : sends_) (void)wire_.wait(send.request, Deadline::after(kAtOnce));
}

Status Outbox::send(int peer, wire::Tag tag, SharedBytes bytes) {
  const ConstBytes data = *bytes;
  return send(peer, tag, data, wire::MemoryType::kHost, std::move(bytes));
}

Status Outbox::send(int peer, wire::Tag tag, ConstBytes data, wire::MemoryType memory,
                    std::shared_ptr<const void> lease) {
  DSL_ASSIGN(const wire::Request request, wire_.send(peer, tag, data, memory));
  sends_.push_back({request, std::move(lease)});
  return {};
}

Status Outbox::reap() {
  for (std::size_t i = 0; i < sends_.size();) {
    DSL_ASSIGN(const bool done, wire_.done(sends_[i].request));
    if (!done) {
      ++i;
      continue;
    }
    const Send send = std::move(sends_[i]);
    sends_.erase(sends_.begin() + static_cast<std::ptrdiff_t>(i));
    DSL_TRY(wire_.wait(send.request, Deadline::after(kAtOnce)));
  }
  return {};
}

Status Outbox::wait_until_at_most(std::size_t count, Deadline deadline) {
  while (sends_.size() > count) {
    const Send send = std::move(sends_.front());
    sends_.pop_front();
    DSL_TRY(parallel::blame_peer(wire_.wait(send.request, deadline)));
  }
  return {};
}

Result<ReceiveInto> ReceiveInto::post(wire::Wire& wire, int peer, wire::Tag tag, MutableBytes data,
                                      wire::MemoryType memory) {
  DSL_ASSIGN(const wire::Request request, wire.receive(peer, tag, data, memory));
  return ReceiveInto(wire, request);
}

ReceiveInto::ReceiveInto(ReceiveInto&& other) noexcept
    : wire_(other.wire_), request_(std::exchange(other.request_, std::nullopt)) {}

ReceiveInto& ReceiveInto::operator=(ReceiveInto&& other) noexcept {
  std::swap(wire_, other.wire_);
  std::swap(request_, other.request_);
  return *this;
}

ReceiveInto::~ReceiveInto() {
  if (request_) (void)wire_->wait(*request_, Deadline::after(kAtOnce));
}

Status ReceiveInto::take(Deadline deadline) {
  const wire::Request request = *std::exchange(request_, std::nullopt);
  return parallel::blame_peer(wire_->wait(request, deadline));
}

Result<PostedReceive> PostedReceive::post(wire::Wire& wire, int peer, wire::Tag tag,
                                          std::size_t size) {
  std::vector<std::byte> bytes(size);
  DSL_ASSIGN(ReceiveInto receive,
             ReceiveInto::post(wire, peer, tag, bytes, wire::MemoryType::kHost));
  return PostedReceive(std::move(bytes), std::move(receive));
}

PostedReceive& PostedReceive::operator=(PostedReceive&& other) noexcept {
  // A receive that is given up needs its buffer until the end.
  std::swap(bytes_, other.bytes_);
  std::swap(receive_, other.receive_);
  return *this;
}

Result<std::vector<std::byte>> PostedReceive::take(Deadline deadline) {
  DSL_TRY(receive_.take(deadline));
  return std::move(bytes_);
}

Status PlanSender::broadcast(std::uint64_t sequence, const std::vector<std::byte>& plan) {
  auto frame = std::make_shared<std::vector<std::byte>>(kFrameBytes);
  const std::uint64_t size = plan.size();
  const std::size_t inlined = std::min(plan.size(), kInlineBytes);
  std::memcpy(frame->data(), &size, sizeof(size));
  std::copy_n(plan.begin(), inlined, frame->begin() + sizeof(size));
  SharedBytes rest;
  if (inlined < plan.size()) {
    rest = std::make_shared<const std::vector<std::byte>>(
        plan.begin() + static_cast<std::ptrdiff_t>(inlined), plan.end());
  }
  for (int peer = 1; peer < wire_.world_size(); ++peer) {
    const auto tag = [&](std::uint8_t lane) {
      return make_tag(wire::Channel::kPlan, lane, sequence);
    };
    DSL_TRY(outbox_.send(peer, tag(kFrameLane), frame));
    if (rest) DSL_TRY(outbox_.send(peer, tag(kRestLane), rest));
  }
  return {};
}

Result<PlanReceiver> PlanReceiver::create(wire::Wire& wire) {
  DSL_ASSIGN(
      PostedReceive frame,
      PostedReceive::post(wire, 0, make_tag(wire::Channel::kPlan, kFrameLane, 0), kFrameBytes));
  return PlanReceiver(wire, std::move(frame));
}

Result<std::vector<std::byte>> PlanReceiver::take(Deadline deadline,
                                                  Deadline::Clock::duration patience) {
  DSL_ASSIGN(const std::vector<std::byte> frame, frame_.take(deadline));
  std::uint64_t size = 0;
  std::memcpy(&size, frame.data(), sizeof(size));
  if (size > kMaxPlanBytes) {
    return fail(ErrorCode::kProtocol, "run the same build on every rank",
                "receiving a step plan from rank 0: {} bytes, expected at most {}", size,
                kMaxPlanBytes);
  }
  const auto inlined = std::min<std::size_t>(size, kInlineBytes);
  std::vector<std::byte> plan(frame.begin() + sizeof(size),
                              frame.begin() + static_cast<std::ptrdiff_t>(sizeof(size) + inlined));
  if (inlined < size) {
    DSL_ASSIGN(PostedReceive rest,
               PostedReceive::post(*wire_, 0, make_tag(wire::Channel::kPlan, kRestLane, next_),
                                   static_cast<std::size_t>(size) - inlined));
    DSL_ASSIGN(const std::vector<std::byte> bytes, rest.take(Deadline::after(patience)));
    plan.insert(plan.end(), bytes.begin(), bytes.end());
  }
  ++next_;
  return plan;
}

Status PlanReceiver::post_next() {
  DSL_ASSIGN(frame_,
             PostedReceive::post(*wire_, 0, make_tag(wire::Channel::kPlan, kFrameLane, next_),
                                 kFrameBytes));
  return {};
}

}  // namespace dsl::engine
