#include "engine/pipeline_hops.h"

#include <algorithm>
#include <utility>

namespace dsl::engine {
namespace {

constexpr std::uint8_t kHiddenStatesLane = 0;
constexpr std::uint8_t kProbeLane = 1;
/// Large enough for the path that UCX takes for large messages.
constexpr std::size_t kProbeBytes = 64 * 1024;

wire::Tag tag_of_step(std::uint64_t step) {
  return make_tag(wire::Channel::kActivation, kHiddenStatesLane, step);
}

std::size_t bytes_of_rows(const Matrix& matrix) {
  return static_cast<std::size_t>(matrix.rows * matrix.row_stride) * size_of(matrix.dtype);
}

Error probe_error(Error error) {
  error.remedy = "check UCX's CUDA transports (ucx_info -d), or set DSL_HOPS=pinned for all ranks";
  return std::move(error).within("a first hop between the devices of two stages");
}

}  // namespace

PipelineHops::Slot::~Slot() {
  for (const auto& mark : marks) (void)mark->wait();  // a copy may still use the buffer
}

Result<PipelineHops> PipelineHops::open(Memory& memory, wire::Wire& wire, Outbox& outbox,
                                        Options options, Deadline deadline) {
  PipelineHops hops(memory, wire, outbox, std::move(options));
  if (hops.options_.before) {
    DSL_ASSIGN(hops.incoming_, hops.make_slots("rows from the stage before"));
  }
  if (hops.options_.after) {
    DSL_ASSIGN(hops.outgoing_, hops.make_slots("rows for the stage after"));
  }
  if (hops.options_.memory == parallel::HopMemory::kDevice) {
    // The wire writes beside the device's order: what zeroes the buffers must have run before.
    DSL_TRY(hops.options_.finish_ops());
    if (Status probed = hops.probe(deadline); !probed) {
      return tl::unexpected<Error>(probe_error(std::move(probed).error()));
    }
  }
  return hops;
}

PipelineHops::~PipelineHops() = default;

Result<std::vector<PipelineHops::SharedSlot>> PipelineHops::make_slots(
    std::string_view what) const {
  const bool is_on_device = options_.memory == parallel::HopMemory::kDevice;
  Memory& memory = is_on_device ? *memory_ : memory_->staging();
  const std::size_t bytes = static_cast<std::size_t>(options_.max_rows) * options_.row_bytes;
  std::vector<SharedSlot> slots;
  for (int i = 0; i < kHopSlots; ++i) {
    auto slot = std::make_shared<Slot>();
    DSL_ASSIGN(slot->buffer, Buffer::allocate(memory, bytes, what));
    for (std::size_t chunk = 0; chunk < num_chunks(bytes); ++chunk) {
      DSL_ASSIGN(std::unique_ptr<Mark> mark, memory_->make_mark());
      slot->marks.push_back(std::move(mark));
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

wire::MemoryType PipelineHops::wire_memory() const {
  return parallel::wire_memory_of(options_.memory);
}

std::size_t PipelineHops::num_chunks(std::size_t bytes) const {
  const std::size_t size = chunk(0, bytes).bytes;
  return size == 0 ? 0 : (bytes + size - 1) / size;
}

PipelineHops::Chunk PipelineHops::chunk(std::size_t index, std::size_t bytes) const {
  const std::size_t rows = std::max<std::size_t>(options_.chunk_bytes / options_.row_bytes, 1);
  const std::size_t offset = index * rows * options_.row_bytes;
  return {offset, std::min(rows * options_.row_bytes, bytes - offset)};
}

Status PipelineHops::expect(std::uint64_t step, std::int64_t num_rows) {
  const bool is_known = !expected_.empty() && expected_.back().step >= step;
  if (incoming_.empty() || is_known) return {};
  DSL_CHECK(expected_.size() < incoming_.size(), "{} steps are expected before they are received",
            expected_.size() + 1);
  Expected expected;
  expected.step = step;
  expected.slot = incoming_[next_incoming_];
  next_incoming_ = (next_incoming_ + 1) % incoming_.size();
  // The device may still read an earlier step's rows there.
  DSL_TRY(expected.slot->marks.front()->wait());
  const std::size_t bytes = static_cast<std::size_t>(num_rows) * options_.row_bytes;
  for (std::size_t i = 0; i < num_chunks(bytes); ++i) {
    const auto [offset, size] = chunk(i, bytes);
    const MutableBytes part(expected.slot->buffer.as<std::byte>() + offset, size);
    DSL_ASSIGN(ReceiveInto receive,
               ReceiveInto::post(*wire_, *options_.before, tag_of_step(step), part, wire_memory()));
    expected.chunks.push_back(std::move(receive));
  }
  expected_.push_back(std::move(expected));
  return {};
}

Status PipelineHops::receive(const Matrix& rows, Deadline deadline) {
  DSL_CHECK(!expected_.empty(), "rows of no step are expected");
  Expected expected = std::move(expected_.front());
  expected_.pop_front();
  const std::size_t bytes = bytes_of_rows(rows);
  DSL_CHECK(num_chunks(bytes) == expected.chunks.size(), "{} bytes in {} messages", bytes,
            expected.chunks.size());
  auto* const to = static_cast<std::byte*>(rows.data);
  for (std::size_t i = 0; i < expected.chunks.size(); ++i) {
    const auto [offset, size] = chunk(i, bytes);
    DSL_TRY(expected.chunks[i].take(deadline));
    const std::byte* const from = expected.slot->buffer.as<std::byte>() + offset;
    DSL_TRY(memory_->start_copy(to + offset, from, size));
    DSL_TRY(expected.slot->marks.front()->set());
  }
  return {};
}

/// A slot is shared with the outbox while the wire needs it.
Status PipelineHops::wait_until_sent(const SharedSlot& slot, Deadline deadline) {
  DSL_TRY(outbox_->reap());
  while (slot.use_count() > 1) {
    DSL_TRY(outbox_->wait_until_at_most(outbox_->num_in_flight() - 1, deadline));
  }
  return {};
}

Status PipelineHops::send(std::uint64_t step, const Matrix& rows, Deadline deadline) {
  const SharedSlot& slot = outgoing_[next_outgoing_];
  next_outgoing_ = (next_outgoing_ + 1) % outgoing_.size();
  DSL_TRY(wait_until_sent(slot, deadline));
  const std::size_t bytes = bytes_of_rows(rows);
  const auto* const from = static_cast<const std::byte*>(rows.data);
  const std::size_t count = num_chunks(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    const auto [offset, size] = chunk(i, bytes);
    DSL_TRY(memory_->start_copy(slot->buffer.as<std::byte>() + offset, from + offset, size));
    DSL_TRY(slot->marks[i]->set());
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto [offset, size] = chunk(i, bytes);
    // The last copy is the last of the step. If an op has failed, that message is not sent, so that
    // the stage after does not take the step for whole.
    DSL_TRY(i + 1 < count ? slot->marks[i]->wait() : options_.finish_ops());
    DSL_TRY(outbox_->send(*options_.after, tag_of_step(step),
                          ConstBytes(slot->buffer.as<std::byte>() + offset, size), wire_memory(),
                          slot));
  }
  return {};
}

std::int64_t PipelineHops::buffer_bytes() const {
  std::size_t bytes = 0;
  for (const auto* slots : {&incoming_, &outgoing_}) {
    for (const SharedSlot& slot : *slots) bytes += slot->buffer.bytes();
  }
  return static_cast<std::int64_t>(bytes);
}

Status PipelineHops::probe(Deadline deadline) {
  const std::size_t largest = static_cast<std::size_t>(options_.max_rows) * options_.row_bytes;
  std::vector<std::byte> pattern(std::min(kProbeBytes, largest));
  for (std::size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<std::byte>(i % 251);
  const wire::Tag tag = make_tag(wire::Channel::kActivation, kProbeLane, 0);
  std::optional<ReceiveInto> receive;
  if (options_.before) {
    const MutableBytes room(incoming_[0]->buffer.as<std::byte>(), pattern.size());
    DSL_ASSIGN(receive, ReceiveInto::post(*wire_, *options_.before, tag, room, wire_memory()));
  }
  if (options_.after) {
    Buffer& buffer = outgoing_[0]->buffer;
    DSL_TRY(memory_->write(buffer.data(), pattern.data(), pattern.size()));
    DSL_TRY(options_.finish_ops());
    const ConstBytes sent(buffer.as<std::byte>(), pattern.size());
    DSL_TRY(outbox_->send(*options_.after, tag, sent, wire_memory(), outgoing_[0]));
  }
  if (options_.before) {
    DSL_TRY(receive->take(deadline));
    std::vector<std::byte> arrived(pattern.size());
    DSL_TRY(memory_->read(arrived.data(), incoming_[0]->buffer.data(), arrived.size()));
    if (arrived != pattern) {
      return fail(ErrorCode::kProtocol, "", "rank {}: it arrived corrupt from rank {}",
                  wire_->rank(), *options_.before);
    }
  }
  return outbox_->wait_until_at_most(0, deadline);
}

}  // namespace dsl::engine
