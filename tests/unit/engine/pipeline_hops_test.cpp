// Rows between two stages, whose devices copy as late as they may.
#include "engine/pipeline_hops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "transport/inproc/inproc_world.h"

namespace dsl::engine {
namespace {

using namespace std::chrono_literals;
using parallel::HopMemory;

constexpr std::int64_t kCols = 6;
constexpr std::size_t kRowBytes = kCols * sizeof(float);
constexpr std::int64_t kMaxRows = 40;
constexpr std::size_t kChunkBytes =
    7 * kRowBytes;  // steps of several, of which the last is smaller

/// Host memory that may run out.
class CountedMemory final : public HostMemory {
 public:
  int num_allocations = 0;
  int most_allocations = 1000;

 private:
  Result<void*> take(std::size_t bytes, std::string_view what) override {
    if (++num_allocations > most_allocations) {
      return fail(ErrorCode::kOutOfMemory, "", "allocating {} bytes for the {}", bytes, what);
    }
    return new std::byte[bytes]();
  }
  void give_back(void* data, std::size_t) override { delete[] static_cast<std::byte*>(data); }
};

/// A device on the host whose work runs when somebody waits for it.
class LateMemory final : public Memory {
 public:
  bool is_host() const override { return false; }
  std::int64_t free_bytes() const override { return 1 << 30; }
  std::int64_t total_bytes() const override { return 1 << 30; }
  Status zero(void* data, std::size_t bytes) override {
    return start([=] { std::memset(data, 0, bytes); });
  }
  Status write(void* to, const void* from, std::size_t bytes) override {
    const auto* begin = static_cast<const std::byte*>(from);
    return start([to, staged = std::vector<std::byte>(begin, begin + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    });
  }
  Status read(void* to, const void* from, std::size_t bytes) override {
    run_all();
    return own_.read(to, from, bytes);
  }
  CountedMemory& staging() override { return staging_; }
  Status start_copy(void* to, const void* from, std::size_t bytes) override {
    return start([=] { std::memcpy(to, from, bytes); });
  }
  Status copy_rows(const RowCopy& copy) override {
    run_all();
    return own_.copy_rows(copy);
  }
  Result<std::unique_ptr<Mark>> make_mark() override { return std::make_unique<LateMark>(*this); }

  void run_all() { run_until(num_started_); }

 private:
  class LateMark final : public Mark {
   public:
    explicit LateMark(LateMemory& memory) : memory_(memory) {}
    Status set() override {
      place_ = memory_.num_started_;
      return {};
    }
    Status wait() override {
      memory_.run_until(place_);
      return {};
    }

   private:
    LateMemory& memory_;
    std::size_t place_ = 0;
  };

  Status start(std::function<void()> work) {
    started_.push_back(std::move(work));
    ++num_started_;
    return {};
  }
  void run_until(std::size_t place) {
    while (num_started_ - started_.size() < place) {
      started_.front()();
      started_.pop_front();
    }
  }
  Result<void*> take(std::size_t bytes, std::string_view what) override {
    DSL_ASSIGN(void* const data, own_.allocate(bytes, what));
    DSL_TRY(zero(data, bytes));
    return data;
  }
  void give_back(void* data, std::size_t bytes) override {
    run_all();
    own_.release(data, bytes);
  }

  CountedMemory own_;
  CountedMemory staging_;
  std::deque<std::function<void()>> started_;
  std::size_t num_started_ = 0;
};

/// Carries the memory of such a device, as UCX does: when a message comes, not in the device's
/// order.
class AnyMemoryWire final : public wire::Wire {
 public:
  explicit AnyMemoryWire(std::unique_ptr<wire::Wire> wire) : wire_(std::move(wire)) {}

  int rank() const override { return wire_->rank(); }
  int world_size() const override { return wire_->world_size(); }
  bool carries(wire::MemoryType) const override { return true; }
  Result<wire::Request> send(int peer, wire::Tag tag, ConstBytes data, wire::MemoryType) override {
    return wire_->send(peer, tag, data, wire::MemoryType::kHost);
  }
  Result<wire::Request> receive(int peer, wire::Tag tag, MutableBytes data,
                                wire::MemoryType) override {
    return wire_->receive(peer, tag, data, wire::MemoryType::kHost);
  }
  Status wait(wire::Request request, Deadline deadline) override {
    return wire_->wait(request, deadline);
  }
  Result<bool> done(wire::Request request) override { return wire_->done(request); }
  std::vector<wire::LinkReport> links() const override { return wire_->links(); }
  void abort(Error reason) override { wire_->abort(std::move(reason)); }

 private:
  std::unique_ptr<wire::Wire> wire_;
};

struct Rows {
  explicit Rows(std::int64_t num_rows) : values(static_cast<std::size_t>(num_rows * kCols)) {}
  Matrix matrix() { return {values.data(), DType::kF32, std::ssize(values) / kCols, kCols, kCols}; }
  std::vector<float> values;
};

Rows rows_of_step(std::uint64_t step, std::int64_t num_rows) {
  Rows rows(num_rows);
  for (std::size_t i = 0; i < rows.values.size(); ++i) {
    rows.values[i] = static_cast<float>(step * 1000 + i);
  }
  return rows;
}

/// One end of the hop between rank 0 and rank 1.
struct End {
  Result<PipelineHops> open() {
    PipelineHops::Options options;
    (wire->rank() == 0 ? options.after : options.before) = 1 - wire->rank();
    options.max_rows = kMaxRows;
    options.row_bytes = kRowBytes;
    options.memory = hop_memory;
    options.chunk_bytes = kChunkBytes;
    options.finish_ops = [this]() -> Status {
      memory.run_all();
      if (!ops_failure) return {};
      return tl::unexpected<Error>(*ops_failure);
    };
    return PipelineHops::open(memory, *wire, outbox, std::move(options), Deadline::after(5s));
  }

  explicit End(std::unique_ptr<wire::Wire> own_wire, HopMemory memory_of_hops = HopMemory::kPinned)
      : hop_memory(memory_of_hops),
        wire(std::move(own_wire)),
        outbox(*wire),
        hops(open().value()) {}

  HopMemory hop_memory;
  LateMemory memory;
  std::unique_ptr<wire::Wire> wire;
  std::optional<Error> ops_failure;
  Outbox outbox;
  PipelineHops hops;
};

class PipelineHopsTest : public ::testing::Test {
 protected:
  inproc::World world_{2};
  std::unique_ptr<End> sender_ = std::make_unique<End>(world_.make_wire(0));
  std::unique_ptr<End> receiver_ = std::make_unique<End>(world_.make_wire(1));
};

/// Property: whatever the sizes of steps, and however late the devices copy, every step's rows
/// arrive, in the buffers that were there at the start.
TEST_F(PipelineHopsTest, RowsOfStepsOfAllSizesArriveInTheSameBuffers) {
  const std::vector<std::int64_t> sizes = {1, 7, 8, 40, 3, 40, 39, 1, 1, 14};
  std::deque<Rows> arrived;
  for (std::size_t step = 0; step < sizes.size(); ++step) {
    // As a rank does, the next step is expected before this one is received.
    ASSERT_TRUE(receiver_->hops.expect(step, sizes[step]));
    if (step + 1 < sizes.size()) {
      ASSERT_TRUE(receiver_->hops.expect(step + 1, sizes[step + 1]));
    }
    Rows sent = rows_of_step(step, sizes[step]);
    ASSERT_TRUE(sender_->hops.send(step, sent.matrix(), Deadline::after(5s)));
    std::fill(sent.values.begin(), sent.values.end(), -1.0F);  // as the next step does
    arrived.emplace_back(sizes[step]);
    ASSERT_TRUE(receiver_->hops.receive(arrived.back().matrix(), Deadline::after(5s)));
  }
  receiver_->memory.run_all();
  for (std::size_t step = 0; step < sizes.size(); ++step) {
    EXPECT_EQ(arrived[step].values, rows_of_step(step, sizes[step]).values) << "step " << step;
  }
  for (End* end : {sender_.get(), receiver_.get()}) {
    EXPECT_EQ(end->memory.staging().num_allocations, kHopSlots);
    EXPECT_EQ(end->memory.staging().allocated_bytes(), end->hops.buffer_bytes());
    EXPECT_EQ(end->memory.allocated_bytes(), 0);
  }
}

/// The buffers are zeroed in the device's order, and the first messages come beside it.
TEST_F(PipelineHopsTest, WhatArrivesAtOnceInADeviceIsNotZeroedAfterwards) {
  inproc::World world(2);
  const auto make_end = [&](int rank) {
    return std::make_unique<End>(std::make_unique<AnyMemoryWire>(world.make_wire(rank)),
                                 HopMemory::kDevice);
  };
  std::unique_ptr<End> receiver;
  std::thread opening([&] { receiver = make_end(1); });
  const std::unique_ptr<End> sender = make_end(0);
  opening.join();
  for (std::uint64_t step = 0; step < kHopSlots; ++step) {
    ASSERT_TRUE(receiver->hops.expect(step, kMaxRows));
    const Rows sent = rows_of_step(step, kMaxRows);
    ASSERT_TRUE(sender->hops.send(step, Rows(sent).matrix(), Deadline::after(5s)));
    Rows arrived(kMaxRows);
    ASSERT_TRUE(receiver->hops.receive(arrived.matrix(), Deadline::after(5s)));
    receiver->memory.run_all();
    EXPECT_EQ(arrived.values, sent.values) << "step " << step;
  }
}

TEST_F(PipelineHopsTest, ASlowStageHoldsUpItsPredecessorWithinTheDeadline) {
  for (std::uint64_t step = 0; step < kHopSlots; ++step) {
    ASSERT_TRUE(sender_->hops.send(step, rows_of_step(step, 40).matrix(), Deadline::after(5s)));
  }
  Rows next = rows_of_step(kHopSlots, 1);
  const Status held_up = sender_->hops.send(kHopSlots, next.matrix(), Deadline::after(20ms));
  ASSERT_FALSE(held_up);
  EXPECT_EQ(held_up.error().code, ErrorCode::kPeerHung) << held_up.error().to_string();
}

TEST_F(PipelineHopsTest, AStepWhoseOpsFailedIsNotSentWhole) {
  sender_->ops_failure = Error{ErrorCode::kInternal, "running kernels", ""};
  ASSERT_TRUE(receiver_->hops.expect(0, 40));
  const Status failed = sender_->hops.send(0, rows_of_step(0, 40).matrix(), Deadline::after(5s));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kInternal);
  Rows arrived(40);
  const Status missing = receiver_->hops.receive(arrived.matrix(), Deadline::after(20ms));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kPeerHung) << missing.error().to_string();
  receiver_.reset();  // waits for the copies of the parts that came
}

TEST_F(PipelineHopsTest, TooLittlePageLockedMemoryIsAnErrorAtTheStart) {
  inproc::World world(2);
  LateMemory memory;
  memory.staging().most_allocations = 1;
  const auto wire = world.make_wire(0);
  Outbox outbox(*wire);
  PipelineHops::Options options;
  options.after = 1;
  options.max_rows = kMaxRows;
  options.row_bytes = kRowBytes;
  options.memory = HopMemory::kPinned;
  const auto hops = PipelineHops::open(memory, *wire, outbox, options, Deadline::after(5s));
  ASSERT_FALSE(hops);
  EXPECT_EQ(hops.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(hops.error().message.find("rows for the stage after"), std::string::npos);
  EXPECT_EQ(memory.staging().allocated_bytes(), 0);
}

TEST_F(PipelineHopsTest, ARankThatGoesWhileRowsAreOnTheirWayLeavesNothing) {
  LateMemory& memory = sender_->memory;
  for (std::uint64_t step = 0; step < kHopSlots; ++step) {
    ASSERT_TRUE(sender_->hops.send(step, rows_of_step(step, 40).matrix(), Deadline::after(5s)));
  }
  receiver_.reset();
  const Status lost =
      sender_->hops.send(kHopSlots, rows_of_step(kHopSlots, 40).matrix(), Deadline::after(5s));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::kPeerLost) << lost.error().to_string();
  { const PipelineHops ended = std::move(sender_->hops); }
  while (sender_->outbox.num_in_flight() > 0) {
    (void)sender_->outbox.wait_until_at_most(0, Deadline::after(0s));
  }
  EXPECT_EQ(memory.staging().allocated_bytes(), 0);
}

TEST_F(PipelineHopsTest, AReceiverThatGivesUpLeavesNothing) {
  ASSERT_TRUE(receiver_->hops.expect(0, 40));
  ASSERT_TRUE(receiver_->hops.expect(1, 40));
  ASSERT_TRUE(sender_->hops.send(0, rows_of_step(0, 40).matrix(), Deadline::after(5s)));
  sender_.reset();
  Rows arrived(40);
  ASSERT_TRUE(receiver_->hops.receive(arrived.matrix(), Deadline::after(5s)));
  const Status lost = receiver_->hops.receive(arrived.matrix(), Deadline::after(5s));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::kPeerLost) << lost.error().to_string();
  { const PipelineHops ended = std::move(receiver_->hops); }
  EXPECT_EQ(receiver_->memory.staging().allocated_bytes(), 0);
}

}  // namespace
}  // namespace dsl::engine
