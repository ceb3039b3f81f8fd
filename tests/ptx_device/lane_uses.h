// Which lanes of a warp used each byte of shared memory since all lanes of the warp last met. Lanes
// go on by themselves on a device: what one stores, another may use only behind a meeting
// (bar.warp.sync of all, or a barrier). Exchanges of registers order no memory.
//
// Source: PTX ISA, "Memory Consistency Model" and "bar.warp.sync".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/ptx_device/kernel.h"

namespace dsl::test::ptx {

class LaneUses {
 public:
  LaneUses(std::size_t bytes, std::uint32_t warps);

  /// All its lanes did.
  void meet(std::uint32_t warp) { stretches_[warp] += static_cast<Stretch>(stretches_.size()); }
  /// Throw Fault where another lane of the warp stored, or read what is stored now, since all met.
  /// Lanes may store the same value in one place.
  void note_read(std::uint32_t warp, LaneMask lanes, std::size_t offset, std::size_t bytes);
  void note_store(std::uint32_t warp, int lane, std::size_t offset,
                  std::span<const std::byte> before, std::span<const std::byte> after);
  /// The lane will store there.
  void check_unread(std::uint32_t warp, int lane, std::size_t offset, std::size_t bytes) const;

 private:
  /// A warp's time between two meetings of its lanes.
  using Stretch = std::uint32_t;

  struct Use {
    Stretch stored = 0;  // 0: never
    Stretch read = 0;
    LaneMask readers = 0;  // in that stretch
    std::int32_t writer = 0;
  };

  std::vector<Stretch> stretches_;  // by warp; no two warps have the same
  std::vector<Use> uses_;           // by byte
};

}  // namespace dsl::test::ptx
