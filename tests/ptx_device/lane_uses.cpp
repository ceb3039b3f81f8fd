#include "tests/ptx_device/lane_uses.h"

#include <fmt/format.h>

#include <algorithm>

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

void LaneUses::meet(const WarpTime& until) {
  std::uint32_t& met = met_[until.warp];
  met = std::max(met, until.now);
  if (apart_[until.warp].last <= met) apart_[until.warp].lanes = 0;
}

void LaneUses::check_seen(std::uint32_t warp, LaneMask lanes, std::size_t offset,
                          std::size_t bytes) const {
  for (std::size_t at = offset; at < offset + bytes; ++at) {
    const Use& use = uses_[at];
    if (is_apart(warp, use.stored) && (lanes & ~mask_of(use.writer)) != 0) {
      report_race(at, fmt::format("lane {} of warp {} stored there before lanes {:#x} read",
                                  use.writer, warp, lanes));
    }
  }
}

void LaneUses::note_read(const WarpTime& reader, LaneMask lanes, std::size_t offset,
                         std::size_t bytes) {
  check_seen(reader.warp, lanes, offset, bytes);
  note_apart(reader, lanes);
  for (std::size_t at = offset; at < offset + bytes; ++at) {
    Use& use = uses_[at];
    use.readers = lanes | (is_apart(reader.warp, use.read) ? use.readers : 0);
    use.read = reader;
  }
}

void LaneUses::check_unread(std::uint32_t warp, int lane, std::size_t offset,
                            std::size_t bytes) const {
  for (std::size_t at = offset; at < offset + bytes; ++at) {
    const Use& use = uses_[at];
    if (is_apart(warp, use.read) && (use.readers & ~mask_of(lane)) != 0) {
      report_race(at, fmt::format("lanes {:#x} of warp {} read there before lane {} stores",
                                  use.readers, warp, lane));
    }
  }
}

void LaneUses::note_store(const WarpTime& storer, int lane, std::size_t offset,
                          std::span<const std::byte> before, std::span<const std::byte> after) {
  check_unread(storer.warp, lane, offset, after.size());
  note_apart(storer, mask_of(lane));
  for (std::size_t i = 0; i < after.size(); ++i) {
    Use& use = uses_[offset + i];
    if (is_apart(storer.warp, use.stored) && use.writer != lane && before[i] != after[i]) {
      report_race(offset + i, fmt::format("lanes {} and {} of warp {} store there", use.writer,
                                          lane, storer.warp));
    }
    use.stored = storer;
    use.writer = lane;
  }
}

}  // namespace dsl::test::ptx
