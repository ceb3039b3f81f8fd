#include "tests/ptx_device/lane_uses.h"

#include <fmt/format.h>

#include <numeric>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

LaneMask mask_of(int lane) { return LaneMask{1} << lane; }

[[noreturn]] void report_race(std::size_t offset, const std::string& what) {
  throw Fault(fmt::format("race at {} of shared memory: {}, and its lanes do not meet in between",
                          kSharedBase + offset, what));
}

}  // namespace

LaneUses::LaneUses(std::size_t bytes, std::uint32_t warps) : stretches_(warps), uses_(bytes) {
  std::iota(stretches_.begin(), stretches_.end(), Stretch{1});
}

void LaneUses::note_read(std::uint32_t warp, LaneMask lanes, std::size_t offset,
                         std::size_t bytes) {
  const Stretch stretch = stretches_[warp];
  for (std::size_t at = offset; at < offset + bytes; ++at) {
    Use& use = uses_[at];
    if (use.stored == stretch && (lanes & ~mask_of(use.writer)) != 0) {
      report_race(at, fmt::format("lane {} of warp {} stored there before lanes {:#x} read",
                                  use.writer, warp, lanes));
    }
    use.readers = lanes | (use.read == stretch ? use.readers : 0);
    use.read = stretch;
  }
}

void LaneUses::check_unread(std::uint32_t warp, int lane, std::size_t offset,
                            std::size_t bytes) const {
  for (std::size_t at = offset; at < offset + bytes; ++at) {
    const Use& use = uses_[at];
    if (use.read == stretches_[warp] && (use.readers & ~mask_of(lane)) != 0) {
      report_race(at, fmt::format("lanes {:#x} of warp {} read there before lane {} stores",
                                  use.readers, warp, lane));
    }
  }
}

void LaneUses::note_store(std::uint32_t warp, int lane, std::size_t offset,
                          std::span<const std::byte> before, std::span<const std::byte> after) {
  check_unread(warp, lane, offset, after.size());
  const Stretch stretch = stretches_[warp];
  for (std::size_t i = 0; i < after.size(); ++i) {
    Use& use = uses_[offset + i];
    if (use.stored == stretch && use.writer != lane && before[i] != after[i]) {
      report_race(offset + i,
                  fmt::format("lanes {} and {} of warp {} store there", use.writer, lane, warp));
    }
    use.stored = stretch;
    use.writer = lane;
  }
}

}  // namespace dsl::test::ptx
