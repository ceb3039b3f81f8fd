// Which lanes of a warp used each byte of shared memory since all lanes of the warp last met. Lanes
// go on by themselves on a device: what one stores, another may use only behind a meeting
// (bar.warp.sync of all, a barrier, or an mbarrier at which they arrived before they all waited).
// Exchanges of registers order no memory.
//
// Source: PTX ISA, "Memory Consistency Model" and "bar.warp.sync".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/ptx_device/kernel.h"

namespace dsl::test::ptx {

/// A warp, and how far it has come by its own clock (shared_memory.h).
struct WarpTime {
  std::uint32_t warp = 0;
  std::uint32_t now = 0;
};

class LaneUses {
 public:
  LaneUses(std::size_t bytes, std::uint32_t warps) : met_(warps), apart_(warps), uses_(bytes) {}

  /// All lanes of the warp have seen what all did until then.
  void meet(const WarpTime& until);
  /// Lanes of the warp that used something which others of it may not have seen.
  LaneMask apart(std::uint32_t warp) const { return apart_[warp].lanes; }
  /// Throw Fault where another lane of the warp stored, or read what is stored now, since all met.
  /// Lanes may store the same value in one place.
  void note_read(const WarpTime& reader, LaneMask lanes, std::size_t offset, std::size_t bytes);
  void note_store(const WarpTime& storer, int lane, std::size_t offset,
                  std::span<const std::byte> before, std::span<const std::byte> after);
  /// The lanes will read there.
  void check_seen(std::uint32_t warp, LaneMask lanes, std::size_t offset, std::size_t bytes) const;
  /// The lane will store there.
  void check_unread(std::uint32_t warp, int lane, std::size_t offset, std::size_t bytes) const;

 private:
  struct Use {
    WarpTime stored;  // 0: never
    WarpTime read;
    LaneMask readers = 0;  // since they met
    std::int32_t writer = 0;
  };
  struct Apart {
    LaneMask lanes = 0;
    std::uint32_t last = 0;  // when they last used something
  };

  /// Whether it is the warp's own, and since its lanes last met.
  bool is_apart(std::uint32_t warp, const WarpTime& use) const {
    return use.now > met_[warp] && use.warp == warp;
  }
  void note_apart(const WarpTime& user, LaneMask lanes) {
    apart_[user.warp] = {apart_[user.warp].lanes | lanes, user.now};
  }

  std::vector<std::uint32_t> met_;  // by warp
  std::vector<Apart> apart_;        // by warp
  std::vector<Use> uses_;           // by byte
};

}  // namespace dsl::test::ptx
