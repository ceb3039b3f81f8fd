// A block's shared memory, which knows who used what: accesses of two warps that no barrier keeps
// apart, of two lanes that did not meet, and operands that tensor cores would not see, are faults.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "tests/ptx_device/lane_uses.h"
#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {

inline constexpr std::uint32_t kMaxWarps = 32;

/// How far a warp has seen every warp come; a vector clock, as barriers advance it.
using WarpClock = std::array<std::uint32_t, kMaxWarps>;

/// Of a barrier in shared memory.
struct Mbarrier {
  std::uint32_t expected = 0;  // arrivals in a phase
  std::uint32_t pending = 0;   // that the phase lacks
  std::uint32_t phase = 0;     // that goes on
  WarpClock arriving{};        // what those have seen that have arrived, ever
  WarpClock ended{};           // the same when the last phase ended
};

struct AwaitedPhase {
  std::uint32_t address = 0;
  std::uint32_t number = 0;
};

class SharedMemory {
 public:
  SharedMemory(std::uint32_t bytes, std::uint32_t warps);

  /// What the block before stored is gone.
  void begin_block();

  /// Addresses begin at kSharedBase. All throw Fault outside the block's memory, and for a race.
  void read(std::uint32_t warp, LaneMask lanes, std::uint32_t address, std::span<std::byte> bytes);
  void write(std::uint32_t warp, int lane, std::uint32_t address, std::span<const std::byte> bytes);
  /// Between the two a copy may write any time: nothing else may use what it writes.
  void begin_copy(std::uint32_t warp, int lane, std::uint32_t address, std::uint32_t bytes);
  void end_copy(std::uint32_t warp, int lane, std::uint32_t address,
                std::span<const std::byte> bytes);
  /// What the warp has seen as it begins a product of tensor cores; what it does next is behind
  /// that.
  WarpClock begin_product(std::uint32_t warp);
  /// By that product. Whoever stored an operand publishes it, then a barrier, then products begin:
  /// the order that publish_operands() asks for, though PTX's memory model takes a fence of the
  /// product's own warps behind the barrier too.
  void read_operand(std::uint32_t warp, const WarpClock& begun, std::uint32_t address,
                    std::span<std::byte> bytes);
  /// fence.proxy.async of all lanes.
  void publish(std::uint32_t warp);

  /// These warps met at a barrier.
  void meet(std::span<const std::uint32_t> warps);
  /// All lanes of the warp met.
  void meet_lanes(std::uint32_t warp);

  /// Barriers in shared memory, of eight bytes. A phase ends with so many arrivals.
  void init_mbarrier(std::uint32_t warp, int lane, std::uint32_t address, std::uint32_t arrivals);
  /// These lanes arrive, each once. Who waits for the phase sees what the warp has done.
  void arrive(std::uint32_t warp, LaneMask lanes, const LaneWords& addresses);
  /// The phase that a warp means by its parity: the one that goes on, or the last one.
  AwaitedPhase awaited_phase(std::uint32_t warp, LaneMask lanes, std::uint32_t address,
                             std::uint32_t parity);
  /// The warp goes on if it is true.
  bool has_ended(std::uint32_t warp, const AwaitedPhase& phase);
  const Mbarrier& mbarrier(std::uint32_t address) const { return mbarriers_.at(address); }

 private:
  /// Four bytes' last store, and every warp's last read.
  struct Word {
    std::uint32_t writer = 0;
    std::uint32_t written = 0;    // at the writer's time; 0: never
    std::uint32_t published = 0;  // the same; 0: not since
    bool is_copied_to = false;    // now
    bool is_mbarrier = false;
  };

  std::span<std::byte> at(std::uint32_t address, std::size_t bytes);
  void check_writable(std::uint32_t warp, std::uint32_t address, std::size_t bytes);
  void check_settled(std::uint32_t warp, std::size_t word) const;
  void check_seen(std::uint32_t warp, std::size_t word) const;
  void check_ordered(std::uint32_t warp, std::size_t word) const;
  WarpTime time(std::uint32_t warp) const { return {warp, clocks_[warp][warp]}; }
  Mbarrier& mbarrier_for(std::uint32_t warp, LaneMask lanes, std::uint32_t address);
  void note_read(std::uint32_t warp, std::uint32_t address, std::size_t bytes);

  std::uint32_t num_warps_;
  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
  std::vector<std::uint32_t> reads_;  // [word, warp]: at that warp's time
  std::array<WarpClock, kMaxWarps> clocks_{};
  LaneUses lanes_;
  std::array<std::vector<std::uint32_t>, kMaxWarps> unpublished_;  // words, by writer
  std::map<std::uint32_t, Mbarrier> mbarriers_;                    // by address
};

}  // namespace dsl::test::ptx
