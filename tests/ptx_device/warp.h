// A warp: its lanes' registers, where each of them stands, and what it began and has not waited
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/registers.h"
#include "tests/ptx_device/shared_memory.h"

namespace dsl::test::ptx {

class Block;

/// A cp.async of one lane.
struct PendingCopy {
  int lane = 0;
  std::uint32_t to = 0;  // in shared memory
  std::uint64_t from = 0;
  std::uint32_t bytes = 0;        // copied
  std::uint32_t total_bytes = 0;  // written: what is behind the copied is zero
  std::uint32_t group = 0;        // of its lane
};

/// A wgmma.mma_async, as this warp began it. Registers of its operands are read when the product is
/// made: nothing may touch them before.
struct PendingProduct {
  const Instruction* instruction = nullptr;
  std::uint64_t a_descriptor = 0;  // 0 where the left operand lies in registers
  std::uint64_t b_descriptor = 0;
  bool scales_d = false;
  WarpClock begun{};  // what the warp had seen of others
  bool is_committed = false;
};

/// What instructions name as numbers.
void set_constants(const Kernel& kernel, Registers& registers);

class Warp {
 public:
  enum class State {
    kReady,
    kAtBarrier,
    kAtMbarrier,  // waits for a phase of one
    kAtProducts,  // waits for the products of its warpgroup
    kEnded
  };

  Warp(Block& block, const Kernel& kernel, std::uint32_t index, std::uint32_t threads);

  /// Until all lanes have ended or wait for other warps. Lanes that stand apart are brought
  /// together where the program allows it: the hindmost go first.
  State run();
  /// Goes on behind the instruction at which the warp waits.
  void pass();

  Registers& registers() { return registers_; }
  Block& block() { return block_; }
  std::uint32_t index() const { return index_; }
  /// A lane's number in the block.
  std::uint32_t thread(int lane) const {
    return index_ * kLanes + static_cast<std::uint32_t>(lane);
  }
  State state() const { return state_; }
  /// Where it waits.
  const Instruction& waits_at() const;
  std::byte* local(int lane) { return local_.data() + local_bytes_ * static_cast<unsigned>(lane); }
  std::size_t local_bytes() const { return local_bytes_; }

  void take_turn(LaneMask lanes) { took_turn_ |= lanes; }
  bool has_turn(LaneMask lanes) const { return (took_turn_ & lanes) == lanes; }
  LaneMask alive() const { return alive_; }

  void begin_copy(PendingCopy copy);
  void commit_copies(LaneMask lanes);
  /// Makes all copies of these lanes but for their last `groups` groups.
  void finish_copies(LaneMask lanes, std::uint32_t groups);

  std::vector<PendingProduct>& products() { return products_; }

  /// Throws Fault that says where the warp is.
  [[noreturn]] void report(const Instruction& instruction, const std::string& what) const;

 private:
  /// Lanes that stand at the same instruction.
  struct Group {
    std::uint32_t at = 0;
    LaneMask lanes = 0;
    bool waits = false;  // for other lanes
  };

  Group& next_group();
  /// Until it waits, ends, parts or meets others.
  void run_group(Group& group);
  bool may_execute(const Group& group, const Instruction& instruction) const;
  void branch(Group& group, const Instruction& instruction, LaneMask lanes);
  void execute(const Instruction& instruction, LaneMask lanes);
  void check_products_untouched(const Instruction& instruction) const;

  Block& block_;
  const Kernel& kernel_;
  std::uint32_t index_;
  Registers& registers_;
  std::size_t local_bytes_;
  std::vector<std::byte> local_;
  std::vector<Group> groups_;
  State state_ = State::kReady;
  LaneMask exists_;
  LaneMask alive_;
  LaneMask took_turn_ = 0;
  std::vector<PendingCopy> copies_;
  std::array<std::uint32_t, kLanes> copy_groups_{};
  std::vector<PendingProduct> products_;
};

}  // namespace dsl::test::ptx
