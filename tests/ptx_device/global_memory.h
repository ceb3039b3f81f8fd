// The device's memory, and the host's that it may touch, as kernels reach it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {

/// Which bytes kernels stored since the host, or work that waits for all before it, could last
/// know that they had ended: a kernel that starts early must not read them before its turn.
class RecentStores {
 public:
  void note(const MemoryArea& area, std::size_t offset, std::size_t bytes);
  bool has(const MemoryArea& area, std::size_t offset, std::size_t bytes) const;
  void forget() { stored_.clear(); }

 private:
  static constexpr std::size_t kGranule = 4;

  std::map<const std::byte*, std::vector<bool>> stored_;
};

/// Of all grids of the process; whoever runs one holds the device's memory.
RecentStores& recent_stores();

/// As one grid reaches it.
class GlobalMemory {
 public:
  explicit GlobalMemory(std::span<const MemoryArea> areas);

  /// Throw Fault outside all areas, and for an address that is not a multiple of `alignment`.
  /// Before its turn a thread writes nothing, and reads nothing that a kernel stored.
  void read(std::uint64_t address, std::span<std::byte> bytes, std::size_t alignment,
            bool has_turn);
  void write(std::uint64_t address, std::span<const std::byte> bytes, std::size_t alignment,
             bool has_turn);

 private:
  const MemoryArea& find(std::uint64_t address, std::size_t bytes, std::size_t alignment);

  std::vector<MemoryArea> areas_;  // by address
  std::size_t last_ = 0;
};

}  // namespace dsl::test::ptx
