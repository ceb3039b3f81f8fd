#include "tests/ptx_device/shared_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "tests/ptx_device/address_space.h"
#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/small_copy.h"

namespace dsl::test::ptx {
namespace {

constexpr std::size_t kWordBytes = 4;
constexpr std::size_t kMbarrierBytes = 8;
constexpr std::uint32_t kMaxArrivals = (1u << 20) - 1;

std::size_t first_word(std::uint32_t address) { return (address - kSharedBase) / kWordBytes; }
std::size_t end_word(std::uint32_t address, std::size_t bytes) {
  return (address - kSharedBase + bytes + kWordBytes - 1) / kWordBytes;
}

void join(WarpClock& clock, const WarpClock& other) {
  for (std::size_t warp = 0; warp < clock.size(); ++warp)
    clock[warp] = std::max(clock[warp], other[warp]);
}

}  // namespace

SharedMemory::SharedMemory(std::uint32_t bytes, std::uint32_t warps)
    : num_warps_(warps),
      bytes_(bytes, std::byte{0xff}),
      words_((bytes + kWordBytes - 1) / kWordBytes),
      reads_(words_.size() * warps),
      lanes_(bytes, warps) {
  for (std::uint32_t warp = 0; warp < warps; ++warp) clocks_[warp][warp] = 1;
}

void SharedMemory::begin_block() {
  for (const auto& [address, mbarrier] : mbarriers_) {
    for (std::size_t word = first_word(address); word < end_word(address, kMbarrierBytes); ++word)
      words_[word].is_mbarrier = false;
  }
  mbarriers_.clear();
  std::ranges::fill(bytes_, std::byte{0xff});
  std::array<std::uint32_t, kMaxWarps> all;
  std::iota(all.begin(), all.end(), 0u);
  for (std::uint32_t warp = 0; warp < num_warps_; ++warp) publish(warp);
  meet(std::span(all).first(num_warps_));
}

std::span<std::byte> SharedMemory::at(std::uint32_t address, std::size_t bytes) {
  if (address < kSharedBase || address - kSharedBase + bytes > bytes_.size()) {
    throw Fault(fmt::format("{} bytes at {} of shared memory: a block of this grid has {} from {}",
                            bytes, address, bytes_.size(), kSharedBase));
  }
  return std::span(bytes_).subspan(address - kSharedBase, bytes);
}

void SharedMemory::check_settled(std::uint32_t warp, std::size_t word) const {
  if (words_[word].is_mbarrier) {
    throw Fault(fmt::format("warp {} uses {} of shared memory, where an mbarrier lies", warp,
                            kSharedBase + word * kWordBytes));
  }
  if (!words_[word].is_copied_to) return;
  throw Fault(fmt::format("warp {} uses {} of shared memory while a copy to it is under way", warp,
                          kSharedBase + word * kWordBytes));
}

void SharedMemory::check_seen(std::uint32_t warp, std::size_t word) const {
  check_settled(warp, word);
  check_ordered(warp, word);
}

void SharedMemory::check_ordered(std::uint32_t warp, std::size_t word) const {
  const Word& last = words_[word];
  if (last.written <= clocks_[warp][last.writer]) return;
  throw Fault(
      fmt::format("race at {} of shared memory: warp {} stored there, and no barrier lies between "
                  "that and warp {}",
                  kSharedBase + word * kWordBytes, last.writer, warp));
}

void SharedMemory::note_read(std::uint32_t warp, std::uint32_t address, std::size_t bytes) {
  for (std::size_t word = first_word(address); word < end_word(address, bytes); ++word) {
    reads_[word * num_warps_ + warp] = clocks_[warp][warp];
  }
}

void SharedMemory::read(std::uint32_t warp, LaneMask lanes, std::uint32_t address,
                        std::span<std::byte> bytes) {
  const std::span<std::byte> source = at(address, bytes.size());
  for (std::size_t word = first_word(address); word < end_word(address, bytes.size()); ++word) {
    check_seen(warp, word);
  }
  note_read(warp, address, bytes.size());
  lanes_.note_read(time(warp), lanes, address - kSharedBase, bytes.size());
  copy_access(bytes.data(), source.data(), bytes.size());
}

void SharedMemory::check_writable(std::uint32_t warp, std::uint32_t address, std::size_t bytes) {
  at(address, bytes);
  const WarpClock& clock = clocks_[warp];
  for (std::size_t word = first_word(address); word < end_word(address, bytes); ++word) {
    check_seen(warp, word);
    for (std::uint32_t reader = 0; reader < num_warps_; ++reader) {
      if (reader == warp || reads_[word * num_warps_ + reader] <= clock[reader]) continue;
      throw Fault(
          fmt::format("race at {} of shared memory: warp {} read there, and no barrier lies "
                      "between that and the store of warp {}",
                      kSharedBase + word * kWordBytes, reader, warp));
    }
  }
}

void SharedMemory::write(std::uint32_t warp, int lane, std::uint32_t address,
                         std::span<const std::byte> bytes) {
  check_writable(warp, address, bytes.size());
  const std::span<std::byte> target = at(address, bytes.size());
  lanes_.note_store(time(warp), lane, address - kSharedBase, target, bytes);
  for (std::size_t word = first_word(address); word < end_word(address, bytes.size()); ++word) {
    words_[word] = {.writer = warp, .written = clocks_[warp][warp]};
    unpublished_[warp].push_back(static_cast<std::uint32_t>(word));
  }
  copy_access(target.data(), bytes.data(), bytes.size());
}

void SharedMemory::begin_copy(std::uint32_t warp, int lane, std::uint32_t address,
                              std::uint32_t bytes) {
  check_writable(warp, address, bytes);
  lanes_.check_unread(warp, lane, address - kSharedBase, bytes);
  for (std::size_t word = first_word(address); word < end_word(address, bytes); ++word) {
    words_[word].is_copied_to = true;
  }
}

void SharedMemory::end_copy(std::uint32_t warp, int lane, std::uint32_t address,
                            std::span<const std::byte> bytes) {
  for (std::size_t word = first_word(address); word < end_word(address, bytes.size()); ++word) {
    words_[word].is_copied_to = false;
  }
  write(warp, lane, address, bytes);
}

WarpClock SharedMemory::begin_product(std::uint32_t warp) {
  const WarpClock begun = clocks_[warp];
  ++clocks_[warp][warp];
  return begun;
}

void SharedMemory::read_operand(std::uint32_t warp, const WarpClock& begun, std::uint32_t address,
                                std::span<std::byte> bytes) {
  const std::span<std::byte> source = at(address, bytes.size());
  for (std::size_t word = first_word(address); word < end_word(address, bytes.size()); ++word) {
    check_settled(warp, word);
    const Word& last = words_[word];
    const std::uint32_t seen = begun[last.writer];
    if (last.written <= seen && last.published <= seen &&
        (last.published != 0 || last.written == 0))
      continue;
    const std::size_t place = kSharedBase + word * kWordBytes;
    if (last.written <= seen && last.published == 0) {
      throw Fault(
          fmt::format("an operand at {} of shared memory, which warp {} stored without a fence for "
                      "tensor cores",
                      place, last.writer));
    }
    throw Fault(fmt::format(
        "warp {} {} an operand at {} of shared memory, and no barrier lies between that and the "
        "product that warp {} began",
        last.writer, last.written > seen ? "stored" : "published", place, warp));
  }
  note_read(warp, address, bytes.size());
  copy_access(bytes.data(), source.data(), bytes.size());
}

void SharedMemory::publish(std::uint32_t warp) {
  for (const std::uint32_t word : unpublished_[warp]) {
    if (words_[word].writer == warp) words_[word].published = clocks_[warp][warp];
  }
  unpublished_[warp].clear();
}

void SharedMemory::meet(std::span<const std::uint32_t> warps) {
  WarpClock latest{};
  for (const std::uint32_t warp : warps) join(latest, clocks_[warp]);
  for (const std::uint32_t warp : warps) {
    clocks_[warp] = latest;
    meet_lanes(warp);
  }
}

void SharedMemory::meet_lanes(std::uint32_t warp) {
  lanes_.meet(time(warp));
  ++clocks_[warp][warp];
}

void SharedMemory::init_mbarrier(std::uint32_t warp, int lane, std::uint32_t address,
                                 std::uint32_t arrivals) {
  if (address % kMbarrierBytes != 0)
    throw Fault(fmt::format("an mbarrier at {}, which is not a multiple of 8", address));
  if (arrivals < 1 || arrivals > kMaxArrivals)
    throw Fault(fmt::format("an mbarrier for {} arrivals", arrivals));
  if (mbarriers_.contains(address))
    throw Fault(fmt::format("the mbarrier at {} is initialised twice", address));
  write(warp, lane, address, std::array<std::byte, kMbarrierBytes>{});
  for (std::size_t word = first_word(address); word < end_word(address, kMbarrierBytes); ++word)
    words_[word].is_mbarrier = true;
  mbarriers_[address] = {.expected = arrivals, .pending = arrivals};
}

Mbarrier& SharedMemory::mbarrier_for(std::uint32_t warp, LaneMask lanes, std::uint32_t address) {
  const auto found = mbarriers_.find(address);
  if (found == mbarriers_.end())
    throw Fault(fmt::format("no mbarrier was initialised at {} of shared memory", address));
  check_ordered(warp, first_word(address));
  lanes_.check_seen(warp, lanes, address - kSharedBase, kMbarrierBytes);
  return found->second;
}

void SharedMemory::arrive(std::uint32_t warp, LaneMask lanes, const LaneWords& addresses) {
  if (const LaneMask apart = lanes_.apart(warp) & ~lanes; apart != 0) {
    throw Fault(
        fmt::format("lanes {:#x} of warp {} arrive, and lanes {:#x} used shared memory "
                    "before and did not meet them",
                    lanes, warp, apart));
  }
  for (LaneMask left = lanes; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    Mbarrier& mbarrier =
        mbarrier_for(warp, LaneMask{1} << lane, addresses[static_cast<std::size_t>(lane)]);
    join(mbarrier.arriving, clocks_[warp]);
    if (--mbarrier.pending != 0) continue;
    mbarrier.pending = mbarrier.expected;
    mbarrier.ended = mbarrier.arriving;
    ++mbarrier.phase;
  }
  ++clocks_[warp][warp];
}

AwaitedPhase SharedMemory::awaited_phase(std::uint32_t warp, LaneMask lanes, std::uint32_t address,
                                         std::uint32_t parity) {
  if (parity > 1) throw Fault(fmt::format("a parity of {}", parity));
  const std::uint32_t phase = mbarrier_for(warp, lanes, address).phase;
  return {address, phase % 2 == parity ? phase : phase - 1};
}

bool SharedMemory::has_ended(std::uint32_t warp, const AwaitedPhase& awaited) {
  const Mbarrier& mbarrier = mbarriers_.at(awaited.address);
  const std::uint32_t ended = mbarrier.phase - awaited.number;
  if (ended == 0) return false;
  // Phases are known by their parity: who waits may miss both ends.
  if (ended > 1) {
    throw Fault(
        fmt::format("warp {} waits for phase {} of the mbarrier at {}, and the next one "
                    "has ended too",
                    warp, awaited.number, awaited.address));
  }
  join(clocks_[warp], mbarrier.ended);
  // Whoever arrived saw all that the lanes of its warp had done.
  lanes_.meet({warp, mbarrier.ended[warp]});
  return true;
}

}  // namespace dsl::test::ptx
