// A kernel, ready to be run: instructions whose operands are places in a warp's registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {

class Warp;
struct Instruction;

/// A bit for each lane of a warp.
using LaneMask = std::uint32_t;
inline constexpr LaneMask kAllLanes = 0xffffffff;

/// What an instruction does for the lanes that execute it.
using Action = void (*)(Warp& warp, const Instruction& instruction, LaneMask lanes);

/// Who must be where before an instruction can be executed.
enum class Meeting : std::uint8_t {
  kNone,         // lanes execute it on their own
  kBranch,       // and go on at the target
  kExit,         // and end
  kMembers,      // the lanes of a mask (the last operand) that have not ended
  kWarp,         // all 32 lanes
  kBarrier,      // threads of the block
  kMbarrier,     // as many arrivals as a phase of a barrier in shared memory takes
  kProductsWait  // the four warps of a warpgroup
};

enum class Space : std::uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam };

/// What a load or a store moves for a lane.
struct Access {
  Space space = Space::kGeneric;
  std::uint8_t bytes = 0;  // of an element
  std::uint8_t count = 1;  // elements, in as many registers
  bool is_signed = false;
  bool is_address_wide = true;  // 64 bits, else 32
};

struct Instruction {
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  Action action = nullptr;
  Meeting meeting = Meeting::kNone;
  /// The predicate that lets lanes execute it.
  std::uint32_t guard = kNone;
  bool is_guard_negated = false;
  Access access;
  /// Places of registers: first what is written.
  std::vector<std::uint32_t> operands;
  std::vector<bool> is_wide;  // of each operand: whether it has 64 bits
  /// Behind an address, or what else the instruction's text says as a number.
  std::int64_t number = 0;
  std::uint32_t target = 0;  // of a branch: an instruction's index
  std::string text;
};

struct Constant {
  std::uint32_t place = 0;
  std::uint64_t value = 0;
  std::uint32_t slot_bytes = 0;
};

/// Registers that the hardware fills.
struct SpecialRegister {
  std::uint32_t place = 0;
  std::string name;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  std::uint32_t parameter_bytes = 0;
  std::uint32_t max_threads = 0;  // 0: no limit of its own
  std::uint32_t min_blocks = 1;   // that a processor is to have room for
  std::uint32_t local_bytes = 0;  // of a thread
  std::uint32_t register_bytes = 0;
  std::vector<Constant> constants;
  std::vector<SpecialRegister> special_registers;
  std::vector<Instruction> instructions;
};

}  // namespace dsl::test::ptx
