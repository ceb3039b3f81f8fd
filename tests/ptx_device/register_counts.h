// How many registers each thread of a block may use, as warpgroups give some back and take others.
// Source: PTX ISA, "setmaxnreg".
#pragma once

#include <cstdint>
#include <vector>

#include "tests/ptx_device/kernel.h"

namespace dsl::test::ptx {

class RegisterCounts {
 public:
  /// Every thread starts with as many as the kernel's limits leave it.
  RegisterCounts(const Kernel& kernel, std::uint32_t warps);

  /// Of each thread of the warp; 0 where nothing says it.
  std::uint32_t of(std::uint32_t warp) const { return counts_[warp].registers; }
  void set(std::uint32_t warp, const Instruction& instruction, std::uint32_t count);
  /// Once all warps have ended: throws Fault where one would have waited for registers for ever, or
  /// the warps of a warpgroup did not do the same.
  void check() const;

 private:
  struct Count {
    const Instruction* set_by = nullptr;
    std::uint32_t registers = 0;
  };

  const Kernel& kernel_;
  std::vector<Count> counts_;  // by warp
};

/// setmaxnreg.inc, setmaxnreg.dec.
void take_registers(Warp& warp, const Instruction& instruction, LaneMask lanes);
void give_registers_back(Warp& warp, const Instruction& instruction, LaneMask lanes);

}  // namespace dsl::test::ptx
