// The activations of a step on their way from stage to stage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/engine_messages.h"
#include "engine/parallel/hop_path.h"
#include "engine/runtime/memory.h"
#include "engine/tensor/views.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl::engine {

/// Buffers for each neighbour stage: one is on its way while the next step fills the other.
inline constexpr int kHopSlots = 2;
/// Rows go in messages of at most this size (and at least a row), so that those of a long prompt
/// are copied from or to the device while others are on the wire.
inline constexpr std::size_t kHopChunkBytes = std::size_t{1} << 20;

/// Owns the buffers, which are taken once, for the largest step. The device's memory, wire and
/// outbox must outlive it. Thread-compatible.
class PipelineHops {
 public:
  struct Options {
    std::optional<int> before;  // rank of the stage before and after, if there is one
    std::optional<int> after;
    std::int64_t max_rows = 0;
    std::size_t row_bytes = 0;
    parallel::HopMemory memory = parallel::HopMemory::kHost;
    std::size_t chunk_bytes = kHopChunkBytes;
    std::function<Status()> finish_ops;  // Ops::finish() of the device
  };

  /// Both ends of every hop call it. Where hops go through a device's memory, a message that does
  /// not arrive there intact by the deadline is an error.
  static Result<PipelineHops> open(Memory& memory, wire::Wire& wire, Outbox& outbox,
                                   Options options, Deadline deadline);
  PipelineHops(PipelineHops&&) noexcept = default;
  PipelineHops& operator=(PipelineHops&&) = delete;
  ~PipelineHops();

  /// Makes room for the rows of a step that the stage before will send, unless that was done. Steps
  /// come in order, at most kHopSlots of them before they are received.
  Status expect(std::uint64_t step, std::int64_t num_rows);
  /// Brings the rows of the earliest expected step to the device, in order with its ops.
  Status receive(const Matrix& rows, Deadline deadline);
  /// Sends what the ops called so far leave in `rows`. A failure of the ops comes out here.
  Status send(std::uint64_t step, const Matrix& rows, Deadline deadline);

  /// What the buffers take.
  std::int64_t buffer_bytes() const;

 private:
  /// A step's rows beside the model's own, which the next step overwrites.
  struct Slot {
    Buffer buffer;
    std::vector<std::unique_ptr<Mark>> marks;  // behind the copy of each chunk
    ~Slot();
  };
  using SharedSlot = std::shared_ptr<Slot>;
  struct Expected {
    std::uint64_t step = 0;
    SharedSlot slot;
    std::vector<ReceiveInto> chunks;
  };
  struct Chunk {
    std::size_t offset = 0;
    std::size_t bytes = 0;
  };

  PipelineHops(Memory& memory, wire::Wire& wire, Outbox& outbox, Options options)
      : memory_(&memory), wire_(&wire), outbox_(&outbox), options_(std::move(options)) {}

  Result<std::vector<SharedSlot>> make_slots(std::string_view what) const;
  Status probe(Deadline deadline);
  wire::MemoryType wire_memory() const;
  std::size_t num_chunks(std::size_t bytes) const;
  Chunk chunk(std::size_t index, std::size_t bytes) const;
  Status wait_until_sent(const SharedSlot& slot, Deadline deadline);

  Memory* memory_;
  wire::Wire* wire_;
  Outbox* outbox_;
  Options options_;
  std::vector<SharedSlot> incoming_;  // empty without a stage before
  std::vector<SharedSlot> outgoing_;  // empty without a stage after
  std::size_t next_incoming_ = 0;
  std::size_t next_outgoing_ = 0;
  std::deque<Expected> expected_;
};

}  // namespace dsl::engine
