#include "tests/ptx_device/register_counts.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/ptx_device/block.h"
#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

constexpr std::uint32_t kProcessorRegisters = 65536;
constexpr std::uint32_t kRegisterStep = 8;
constexpr std::uint32_t kFewestRegisters = 24;
constexpr std::uint32_t kMostRegisters = 256;
constexpr std::size_t kWarpgroupWarps = 4;

std::uint32_t launched_registers(const Kernel& kernel) {
  if (kernel.max_threads == 0) return 0;
  const std::uint32_t even = kProcessorRegisters / (kernel.max_threads * kernel.min_blocks);
  return std::min(even / kRegisterStep * kRegisterStep, kMostRegisters);
}

enum class Change { kTake, kGiveBack };

void change_registers(Warp& warp, const Instruction& instruction, Change change) {
  const auto count = warp.registers().get<std::uint32_t>(instruction.operands[0], 0);
  if (count % kRegisterStep != 0 || count < kFewestRegisters || count > kMostRegisters)
    throw Fault(fmt::format("{} registers: a multiple of 8 from 24 to 256 is needed", count));
  RegisterCounts& counts = warp.block().register_counts();
  const std::uint32_t before = counts.of(warp.index());
  if (before == 0) throw Fault("no __launch_bounds__ say how many registers there are");
  if (change == Change::kTake ? count < before : count > before)
    throw Fault(fmt::format("{} registers, of a warp that has {}", count, before));
  counts.set(warp.index(), instruction, count);
}

}  // namespace

RegisterCounts::RegisterCounts(const Kernel& kernel, std::uint32_t warps)
    : kernel_(kernel), counts_(warps, {.registers = launched_registers(kernel)}) {}

void RegisterCounts::set(std::uint32_t warp, const Instruction& instruction, std::uint32_t count) {
  counts_[warp] = {&instruction, count};
}

void RegisterCounts::check() const {
  std::uint32_t sum = 0;
  bool has_changed = false;
  for (std::size_t warp = 0; warp < counts_.size(); ++warp) {
    const Count& count = counts_[warp];
    sum += count.registers * kLanes;
    has_changed |= count.set_by != nullptr;
    const std::size_t first = warp / kWarpgroupWarps * kWarpgroupWarps;
    if (count.set_by != counts_[first].set_by)
      throw Fault(fmt::format("{}: warps {} and {} of a warpgroup set their registers apart",
                              kernel_.name, first, warp));
  }
  const auto warps = static_cast<std::uint32_t>(counts_.size());
  const std::uint32_t launched = launched_registers(kernel_) * kLanes * warps;
  if (has_changed && sum > launched) {
    throw Fault(
        fmt::format("{}: the warps of a block take {} registers, and it was launched with "
                    "{}: one waits for ever",
                    kernel_.name, sum, launched));
  }
}

void take_registers(Warp& warp, const Instruction& instruction, LaneMask) {
  change_registers(warp, instruction, Change::kTake);
}

void give_registers_back(Warp& warp, const Instruction& instruction, LaneMask) {
  change_registers(warp, instruction, Change::kGiveBack);
}

}  // namespace dsl::test::ptx
