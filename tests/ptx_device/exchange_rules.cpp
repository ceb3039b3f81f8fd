#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/instruction_rules.h"
#include "tests/ptx_device/matrix_instructions.h"
#include "tests/ptx_device/mbarrier_rules.h"
#include "tests/ptx_device/register_counts.h"
#include "tests/ptx_device/warp.h"
#include "tests/ptx_device/warpgroup_products.h"

namespace dsl::test::ptx {
namespace {

enum class Shuffle { kButterfly, kIndex };

/// Operands: register, whether the lane was in range, value, b, c, members.
template <Shuffle kMode>
void shuffle(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  const LaneWords values = registers.words(places[2]);
  LaneMask in_range = 0;
  registers.assign<std::uint32_t>(places[0], lanes, [&](int lane) {
    const std::uint32_t b = registers.get<std::uint32_t>(places[3], lane) & 31;
    const std::uint32_t c = registers.get<std::uint32_t>(places[4], lane);
    const std::uint32_t segment = c >> 8 & 31;
    const auto own = static_cast<std::uint32_t>(lane);
    const std::uint32_t first = own & segment;
    const std::uint32_t last = first | (c & 31 & ~segment);
    std::uint32_t source = kMode == Shuffle::kButterfly ? own ^ b : first | (b & ~segment);
    if (source <= last) {
      in_range |= LaneMask{1} << lane;
    } else {
      source = own;
    }
    if ((lanes >> source & 1) == 0)
      throw Fault(fmt::format("lane {} reads lane {}, which takes no part", lane, source));
    return values[source];
  });
  registers.set_predicate(places[1], lanes, in_range);
}

/// Operands: register, vote, members.
void ballot(Warp& warp, const Instruction& instruction, LaneMask lanes) {
  Registers& registers = warp.registers();
  const LaneMask votes = registers.predicate(instruction.operands[1]) & lanes;
  registers.assign<std::uint32_t>(instruction.operands[0], lanes, [&](int) { return votes; });
}

/// Operands: four registers of d, four of a, two of b, four of c.
void multiply_fragments(Warp& warp, const Instruction& instruction, LaneMask) {
  Registers& registers = warp.registers();
  const auto& places = instruction.operands;
  const auto read = [&]<std::size_t kCount>(std::size_t first,
                                            std::array<LaneWords, kCount>& words) {
    for (std::size_t i = 0; i < kCount; ++i) words[i] = registers.words(places[first + i]);
  };
  std::array<LaneWords, 4> a;
  std::array<LaneWords, 2> b;
  std::array<LaneWords, 4> c;
  read(4, a);
  read(8, b);
  read(10, c);
  std::array<LaneWords, 4> d;
  mma_m16n8k16_bf16(d, a, b, c);
  for (std::size_t i = 0; i < d.size(); ++i) registers.set_words(places[i], d[i]);
}

/// Operands: a register for each matrix, address.
template <std::size_t kMatrices, bool kTransposed>
void load_matrices(Warp& warp, const Instruction& instruction, LaneMask) {
  Registers& registers = warp.registers();
  LaneWords addresses = registers.words(instruction.operands[kMatrices]);
  for (std::uint32_t& address : addresses)
    address += static_cast<std::uint32_t>(instruction.number);
  if (AccessCounts* counts = warp.block().grid().counts) {
    constexpr LaneMask kRows = kMatrices == 4 ? kAllLanes : (LaneMask{1} << 8 * kMatrices) - 1;
    std::array<std::uint64_t, kLanes> rows;
    std::ranges::copy(addresses, rows.begin());
    counts->note_access(warp.block().grid().kernel, instruction, Space::kShared, rows, kRows, 16);
  }
  std::array<LaneWords, kMatrices> matrices;
  ldmatrix(matrices, addresses, kTransposed,
           [&](std::uint32_t address, std::span<std::byte> bytes) {
             warp.block().shared().read(warp.index(), kAllLanes, address, bytes);
           });
  for (std::size_t i = 0; i < kMatrices; ++i)
    registers.set_words(instruction.operands[i], matrices[i]);
}

void nothing(Warp&, const Instruction&, LaneMask) {}

void take_turn(Warp& warp, const Instruction&, LaneMask lanes) { warp.take_turn(lanes); }

/// Some lanes alone are not known to have met later.
void meet_lanes(Warp& warp, const Instruction&, LaneMask lanes) {
  if (lanes == warp.alive()) warp.block().shared().meet_lanes(warp.index());
}

void publish(Warp& warp, const Instruction&, LaneMask) {
  warp.block().shared().publish(warp.index());
}

}  // namespace

void add_exchange_rules(Rules& rules) {
  rules["shfl.sync.bfly.b32"] = {shuffle<Shuffle::kButterfly>, "4p4444", Meeting::kMembers};
  rules["shfl.sync.idx.b32"] = {shuffle<Shuffle::kIndex>, "4p4444", Meeting::kMembers};
  rules["vote.sync.ballot.b32"] = {ballot, "4p4", Meeting::kMembers};
  rules["bar.warp.sync"] = {meet_lanes, "4", Meeting::kMembers};
  rules["bar.sync"] = {nothing, "?", Meeting::kBarrier};
  rules["barrier.cta.sync"] = {nothing, "?", Meeting::kBarrier};
  rules["mbarrier.init.shared::cta.b64"] = {init_mbarriers, "44"};
  rules["mbarrier.arrive.shared::cta.b64"] = {arrive_at_mbarriers, "84"};
  rules["mbarrier.try_wait.parity.shared::cta.b64"] = {nothing, "p44", Meeting::kMbarrier};
  rules["mbarrier.test_wait.parity.shared::cta.b64"] = {ask_mbarriers, "p44", Meeting::kWarp};
  rules["setmaxnreg.inc.sync.aligned.u32"] = {take_registers, "4", Meeting::kWarp};
  rules["setmaxnreg.dec.sync.aligned.u32"] = {give_registers_back, "4", Meeting::kWarp};
  rules["griddepcontrol.launch_dependents"] = {nothing, ""};
  rules["griddepcontrol.wait"] = {take_turn, ""};
  rules["fence.proxy.async.shared::cta"] = {publish, "", Meeting::kWarp};
  rules["ret"] = rules["exit"] = {nothing, "", Meeting::kExit};

  rules["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"] = {multiply_fragments,
                                                                  "44444444444444", Meeting::kWarp};
  const std::string matrices = "ldmatrix.sync.aligned.m8n8.x";
  rules[matrices + "2.shared.b16"] = {load_matrices<2, false>, "444", Meeting::kWarp};
  rules[matrices + "4.shared.b16"] = {load_matrices<4, false>, "44444", Meeting::kWarp};
  rules[matrices + "4.trans.shared.b16"] = {load_matrices<4, true>, "44444", Meeting::kWarp};

  constexpr int kMaxColumns = 256;
  for (int n = 8; n <= kMaxColumns; n += 8) {
    const std::string name = fmt::format("wgmma.mma_async.sync.aligned.m64n{}k", n);
    rules[name + "16.f32.bf16.bf16"] =
        rules[name + "32.f32.e4m3.e4m3"] = {begin_product, "?", Meeting::kWarp};
  }
  rules["wgmma.fence.sync.aligned"] = {nothing, "", Meeting::kWarp};
  rules["wgmma.commit_group.sync.aligned"] = {commit_products, "", Meeting::kWarp};
  rules["wgmma.wait_group.sync.aligned"] = {nothing, "4", Meeting::kProductsWait};
}

}  // namespace dsl::test::ptx
