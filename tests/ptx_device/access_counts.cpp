#include "tests/ptx_device/access_counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <utility>

namespace dsl::test::ptx {
namespace {

constexpr std::uint32_t kBanks = 32;
constexpr std::uint32_t kBankBytes = 4;
constexpr std::uint32_t kSegmentBytes = 32;

/// Passes in which all that these lanes want of one bank is one word.
std::uint64_t passes_of(const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                        std::uint32_t bytes) {
  std::array<std::set<std::uint64_t>, kBanks> words;
  for (; lanes != 0; lanes &= lanes - 1) {
    const std::uint64_t address = addresses[static_cast<std::size_t>(std::countr_zero(lanes))];
    for (std::uint64_t word = address / kBankBytes; word <= (address + bytes - 1) / kBankBytes;
         ++word) {
      words[word % kBanks].insert(word);
    }
  }
  std::size_t most = 0;
  for (const auto& bank : words) most = std::max(most, bank.size());
  return most;
}

/// Fewest passes for as many bytes.
std::uint64_t needed(LaneMask lanes, std::uint32_t bytes, std::uint32_t pass_bytes) {
  return (static_cast<std::uint64_t>(std::popcount(lanes)) * bytes + pass_bytes - 1) / pass_bytes;
}

/// Writes the report when the process ends.
struct ReportAtEnd {
  std::string path;
  AccessCounts counts;
  explicit ReportAtEnd(std::string file) : path(std::move(file)) {}
  ReportAtEnd(const ReportAtEnd&) = delete;
  ReportAtEnd& operator=(const ReportAtEnd&) = delete;
  ~ReportAtEnd() { std::ofstream(path) << counts.report(); }
};

}  // namespace

std::uint64_t bank_passes(const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                          std::uint32_t bytes) {
  // Lanes that want more than a bank's word take turns.
  const std::uint32_t lanes_at_once = kBanks * kBankBytes / std::max(bytes, kBankBytes);
  std::uint64_t passes = 0;
  for (std::uint32_t first = 0; first < kLanes; first += lanes_at_once) {
    const LaneMask part =
        lanes_at_once == kLanes ? kAllLanes : ((LaneMask{1} << lanes_at_once) - 1) << first;
    passes += passes_of(addresses, lanes & part, bytes);
  }
  return passes;
}

std::uint64_t global_segments(const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                              std::uint32_t bytes) {
  std::set<std::uint64_t> segments;
  for (; lanes != 0; lanes &= lanes - 1) {
    const std::uint64_t address = addresses[static_cast<std::size_t>(std::countr_zero(lanes))];
    segments.insert(address / kSegmentBytes);
    segments.insert((address + bytes - 1) / kSegmentBytes);
  }
  return segments.size();
}

AccessCounts::KernelCounts& AccessCounts::of(const Kernel& kernel) {
  if (&kernel != last_kernel_) {
    last_kernel_ = &kernel;
    last_ = &kernels_[kernel.name];
  }
  return *last_;
}

void AccessCounts::note_access(const Kernel& kernel, const Instruction& instruction, Space space,
                               const std::array<std::uint64_t, kLanes>& addresses, LaneMask lanes,
                               std::uint32_t bytes) {
  if (lanes == 0) return;
  AccessCount& count = of(kernel).accesses[&instruction - kernel.instructions.data()];
  if (count.executed == 0) count.text = instruction.text;
  count.space = space;
  ++count.executed;
  if (space == Space::kShared) {
    count.passes += bank_passes(addresses, lanes, bytes);
    count.needed_passes += needed(lanes, bytes, kBanks * kBankBytes);
  } else {
    count.passes += global_segments(addresses, lanes, bytes);
    // Lanes that read the same need it once.
    std::set<std::uint64_t> distinct;
    for (LaneMask left = lanes; left != 0; left &= left - 1)
      distinct.insert(addresses[static_cast<std::size_t>(std::countr_zero(left))]);
    count.needed_passes += (distinct.size() * bytes + kSegmentBytes - 1) / kSegmentBytes;
  }
}

std::string AccessCounts::report() const {
  std::string text;
  for (const auto& [name, kernel] : kernels_) {
    AccessCount shared;
    AccessCount global;
    for (const auto& [index, count] : kernel.accesses) {
      AccessCount& total = count.space == Space::kShared ? shared : global;
      total.passes += count.passes;
      total.needed_passes += count.needed_passes;
    }
    text += fmt::format(
        "{}: {} grids, {} warp instructions, shared passes {} of {}, global segments {} of {}\n",
        name, kernel.grids, kernel.instructions, shared.passes, shared.needed_passes, global.passes,
        global.needed_passes);
    for (const auto& [index, count] : kernel.accesses) {
      if (count.passes <= count.needed_passes) continue;
      text += fmt::format("  {} of {} passes, {} times: {}\n", count.passes, count.needed_passes,
                          count.executed, count.text);
    }
  }
  return text;
}

AccessCounts* access_counts() {
  static const std::unique_ptr<ReportAtEnd> report = [] {
    const char* const path = std::getenv("DSL_PTX_COUNTS");
    return path == nullptr ? nullptr : std::make_unique<ReportAtEnd>(path);
  }();
  return report == nullptr ? nullptr : &report->counts;
}

}  // namespace dsl::test::ptx
