// Messages between ranks with owned buffers: sends that are forgotten until done, receives posted
// ahead of need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "transport/base/bytes.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl::engine {

using SharedBytes = std::shared_ptr<const std::vector<std::byte>>;

/// Sends in flight and their buffers. The wire must outlive it. Thread-compatible.
class Outbox {
 public:
  explicit Outbox(wire::Wire& wire) : wire_(wire) {}
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;
  ~Outbox();

  Status send(int peer, wire::Tag tag, SharedBytes bytes);
  /// `data` must stay valid and unchanged while `lease` is held: until the wire is done with it.
  Status send(int peer, wire::Tag tag, ConstBytes data, wire::MemoryType memory,
              std::shared_ptr<const void> lease);
  /// Frees the buffers of sends that are done; a failed send is an error.
  Status reap();
  std::size_t num_in_flight() const { return sends_.size(); }
  /// Waits until at most `count` sends are in flight.
  Status wait_until_at_most(std::size_t count, Deadline deadline);

 private:
  struct Send {
    wire::Request request;
    std::shared_ptr<const void> lease;  // of the buffer
  };

  wire::Wire& wire_;
  std::deque<Send> sends_;
};

/// A receive posted into a buffer of somebody else, which must outlive it, as must the wire.
/// Move-only, thread-compatible.
class ReceiveInto {
 public:
  static Result<ReceiveInto> post(wire::Wire& wire, int peer, wire::Tag tag, MutableBytes data,
                                  wire::MemoryType memory);
  ReceiveInto(ReceiveInto&& other) noexcept;
  ReceiveInto& operator=(ReceiveInto&& other) noexcept;
  ~ReceiveInto();

  Result<bool> done() { return wire_->done(*request_); }
  /// Waits for the message; once. An expired deadline is the peer's failure: kPeerHung.
  Status take(Deadline deadline);

 private:
  ReceiveInto(wire::Wire& wire, wire::Request request) : wire_(&wire), request_(request) {}

  wire::Wire* wire_;
  std::optional<wire::Request> request_;
};

/// A receive posted into its own buffer. The wire must outlive it. Move-only, thread-compatible.
class PostedReceive {
 public:
  static Result<PostedReceive> post(wire::Wire& wire, int peer, wire::Tag tag, std::size_t size);
  PostedReceive(PostedReceive&&) noexcept = default;
  PostedReceive& operator=(PostedReceive&& other) noexcept;
  ~PostedReceive() = default;

  Result<bool> done() { return receive_.done(); }
  /// The message, as ReceiveInto::take().
  Result<std::vector<std::byte>> take(Deadline deadline);

 private:
  PostedReceive(std::vector<std::byte> bytes, ReceiveInto receive)
      : bytes_(std::move(bytes)), receive_(std::move(receive)) {}

  std::vector<std::byte> bytes_;
  ReceiveInto receive_;
};

/// Step plans from rank 0 to all others: a frame of fixed size that holds most plans whole, then
/// the rest if any.
class PlanSender {
 public:
  PlanSender(wire::Wire& wire, Outbox& outbox) : wire_(wire), outbox_(outbox) {}
  /// `sequence` counts plans from 0.
  Status broadcast(std::uint64_t sequence, const std::vector<std::byte>& plan);

 private:
  wire::Wire& wire_;
  Outbox& outbox_;
};

/// The receiving side; always has the next frame posted, so that rank 0 need not wait.
/// Thread-compatible.
class PlanReceiver {
 public:
  static Result<PlanReceiver> create(wire::Wire& wire);

  /// True when take() would not wait for the next frame.
  Result<bool> ready() { return frame_.done(); }
  /// The next plan's bytes; waits until there is one. `patience` bounds the wait for the rest of a
  /// long plan.
  Result<std::vector<std::byte>> take(Deadline deadline, Deadline::Clock::duration patience);
  /// Posts the frame of the following plan; after take() unless that plan was the last.
  Status post_next();

 private:
  PlanReceiver(wire::Wire& wire, PostedReceive frame) : wire_(&wire), frame_(std::move(frame)) {}

  wire::Wire* wire_;
  PostedReceive frame_;
  std::uint64_t next_ = 0;
};

}  // namespace dsl::engine
