#include "tests/ptx_device/mbarrier_rules.h"

#include <bit>
#include <cstdint>

#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

/// Of all lanes.
LaneWords mbarrier_addresses(Warp& warp, const Instruction& instruction, std::size_t operand) {
  LaneWords addresses = warp.registers().words(instruction.operands[operand]);
  for (std::uint32_t& address : addresses)
    address += static_cast<std::uint32_t>(instruction.number);
  return addresses;
}

std::uint32_t same_word(const LaneWords& words, LaneMask lanes) {
  const std::uint32_t first = words[static_cast<std::size_t>(std::countr_zero(lanes))];
  for (LaneMask left = lanes; left != 0; left &= left - 1) {
    if (words[static_cast<std::size_t>(std::countr_zero(left))] != first)
      throw Fault("lanes of a warp wait for different phases");
  }
  return first;
}

/// Operands: whether the phase has ended, address, parity.
AwaitedPhase asked_phase(Warp& warp, const Instruction& instruction) {
  return warp.block().shared().awaited_phase(
      warp.index(), warp.alive(), same_word(mbarrier_addresses(warp, instruction, 1), warp.alive()),
      same_word(warp.registers().words(instruction.operands[2]), warp.alive()));
}

}  // namespace

/// Operands: address, arrivals.
void init_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  const LaneWords addresses = mbarrier_addresses(warp, instruction, 0);
  for (LaneMask left = lanes; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    warp.block().shared().init_mbarrier(
        warp.index(), lane, addresses[static_cast<std::size_t>(lane)],
        warp.registers().get<std::uint32_t>(instruction.operands[1], lane));
  }
}

/// Operands: state, which nothing here takes, and address.
void arrive_at_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  warp.block().shared().arrive(warp.index(), lanes, mbarrier_addresses(warp, instruction, 1));
}

void ask_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  SharedMemory& shared = warp.block().shared();
  const bool has_ended = shared.has_ended(warp.index(), asked_phase(warp, instruction));
  warp.registers().set_predicate(instruction.operands[0], lanes, has_ended ? kAllLanes : 0);
}

AwaitedPhase awaited_phase(Warp& warp) {
  const Instruction& instruction = warp.waits_at();
  try {
    return asked_phase(warp, instruction);
  } catch (const Fault& fault) {
    warp.report(instruction, fault.what());
  }
}

bool pass_if_ended(Warp& warp, const AwaitedPhase& awaited) {
  const Instruction& instruction = warp.waits_at();
  try {
    if (!warp.block().shared().has_ended(warp.index(), awaited)) return false;
  } catch (const Fault& fault) {
    warp.report(instruction, fault.what());
  }
  warp.registers().set_predicate(instruction.operands[0], warp.alive(), kAllLanes);
  warp.pass();
  return true;
}

}  // namespace dsl::test::ptx
