// The device's memory, and the host's that it may touch, as kernels reach it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {

/// As one grid reaches it.
class GlobalMemory {
 public:
  explicit GlobalMemory(std::span<const MemoryArea> areas);

  /// Throw Fault outside all areas, and for an address that is not a multiple of `alignment`.
  /// Before its turn a thread of the block writes nothing, and reads nothing that a kernel stored;
  /// and no other thread of the grid may store what it uses.
  void read(std::uint64_t address, std::span<std::byte> bytes, std::size_t alignment,
            std::uint32_t thread, bool has_turn);
  void write(std::uint64_t address, std::span<const std::byte> bytes, std::size_t alignment,
             std::uint32_t thread, bool has_turn);

 private:
  const MemoryArea& find(std::uint64_t address, std::size_t bytes, std::size_t alignment);

  std::vector<MemoryArea> areas_;  // by address
  std::size_t last_ = 0;
};

}  // namespace dsl::test::ptx
