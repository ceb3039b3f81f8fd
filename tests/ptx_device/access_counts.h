// How kernels reach memory: what each load, store and copy costs against what its bytes need. It
// shows what no result does, such as lanes that meet in one bank.
//
// Sources: CUDA C++ Programming Guide, "Shared Memory" of compute capability 9.0 (32 banks of four
// bytes); CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory" (segments of 32
// bytes).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/ptx_device/kernel.h"
#include "tests/ptx_device/matrix_instructions.h"

namespace dsl::test::ptx {

struct AccessCount {
  Space space = Space::kGlobal;
  std::uint64_t executed = 0;  // by warps
  /// Of shared memory: times that its banks are asked; of global memory: segments.
  std::uint64_t passes = 0;
  std::uint64_t needed_passes = 0;
  std::string text;
};

/// Of the lanes in `lanes`, each `bytes` at its address: in shared memory, rounds of 128 bytes.
std::uint64_t bank_passes(const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                          std::uint32_t bytes);
std::uint64_t global_segments(const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                              std::uint32_t bytes);

class AccessCounts {
 public:
  void note_grid(const Kernel& kernel) { ++of(kernel).grids; }
  void note_instruction(const Kernel& kernel) { ++of(kernel).instructions; }
  void note_access(const Kernel& kernel, const Instruction& instruction, Space space,
                   const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                   std::uint32_t bytes);

  /// A line for each kernel, and below it its accesses that take more passes than they need.
  std::string report() const;

 private:
  struct KernelCounts {
    std::uint64_t grids = 0;
    std::uint64_t instructions = 0;
    std::map<std::ptrdiff_t, AccessCount> accesses;  // by the instruction's index
  };

  KernelCounts& of(const Kernel& kernel);

  std::map<std::string, KernelCounts> kernels_;
  const Kernel* last_kernel_ = nullptr;
  KernelCounts* last_ = nullptr;
};

/// Null unless the environment's DSL_PTX_COUNTS names a file, which gets the report when the
/// process ends.
AccessCounts* access_counts();

}  // namespace dsl::test::ptx
