#include "tests/ptx_device/memory_uses.h"

#include <fmt/format.h>

#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {
namespace {

[[noreturn]] void report_race(std::uint64_t address, const char* before, const char* now) {
  throw Fault(fmt::format("race at {:#x}: a thread of the grid has {} there, and another one {}",
                          address, before, now));
}

}  // namespace

void MemoryUses::begin_grid(bool follows_others) {
  before_grid_ = now_;
  if (!follows_others) settled_ = now_;
}

MemoryUses::Page& MemoryUses::page_of(std::uint64_t address) {
  const std::uint64_t number = address / kPageBytes;
  if (last_page_ == nullptr || number != last_number_) {
    std::unique_ptr<Page>& page = pages_[number];
    if (page == nullptr) page = std::make_unique<Page>();
    last_number_ = number;
    last_page_ = page.get();
  }
  return *last_page_;
}

bool MemoryUses::was_stored_lately(std::uint64_t address, std::size_t bytes) {
  const Page& page = page_of(address);
  const std::size_t first = address % kPageBytes;
  for (std::size_t at = first; at < first + bytes; ++at) {
    if (page.stored[at].block > settled_) return true;
  }
  return false;
}

void MemoryUses::note_read(std::uint32_t thread, std::uint64_t address, std::size_t bytes) {
  Page& page = page_of(address);
  const Use now{now_, thread};
  const std::size_t first = address % kPageBytes;
  for (std::size_t at = first; at < first + bytes; ++at) {
    if (is_race(page.stored[at], now)) report_race(address, "stored", "reads");
    Use& read = page.read[at];
    if (read.block <= before_grid_) {
      read = now;
    } else if (read != now) {
      read.thread = kSeveral;
    }
  }
}

void MemoryUses::note_store(std::uint32_t thread, std::uint64_t address, std::size_t bytes) {
  Page& page = page_of(address);
  const Use now{now_, thread};
  const std::size_t first = address % kPageBytes;
  for (std::size_t at = first; at < first + bytes; ++at) {
    if (is_race(page.stored[at], now)) report_race(address, "stored", "stores");
    if (is_race(page.read[at], now)) report_race(address, "read", "stores");
    page.stored[at] = now;
  }
}

MemoryUses& memory_uses() {
  static MemoryUses uses;
  return uses;
}

}  // namespace dsl::test::ptx
