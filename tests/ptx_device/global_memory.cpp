#include "tests/ptx_device/global_memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/ptx_device/fault.h"
#include "tests/ptx_device/memory_uses.h"
#include "tests/ptx_device/small_copy.h"

namespace dsl::test::ptx {
namespace {

std::uint64_t address_of(const MemoryArea& area) {
  return reinterpret_cast<std::uint64_t>(area.data);
}

bool holds(const MemoryArea& area, std::uint64_t address, std::size_t bytes) {
  return address >= address_of(area) && address - address_of(area) + bytes <= area.bytes;
}

}  // namespace

GlobalMemory::GlobalMemory(std::span<const MemoryArea> areas) : areas_(areas.begin(), areas.end()) {
  std::ranges::sort(areas_, {}, address_of);
}

const MemoryArea& GlobalMemory::find(std::uint64_t address, std::size_t bytes,
                                     std::size_t alignment) {
  if (address % alignment != 0) {
    throw Fault(fmt::format("address {:#x} is not a multiple of {}", address, alignment));
  }
  if (last_ < areas_.size() && holds(areas_[last_], address, bytes)) return areas_[last_];
  const auto behind = std::ranges::upper_bound(areas_, address, {}, address_of);
  if (behind != areas_.begin() && holds(*(behind - 1), address, bytes)) {
    last_ = static_cast<std::size_t>(behind - 1 - areas_.begin());
    return areas_[last_];
  }
  if (behind == areas_.begin()) {
    throw Fault(
        fmt::format("{} bytes at {:#x}, before all memory that was allocated", bytes, address));
  }
  const MemoryArea& before = *(behind - 1);
  throw Fault(fmt::format("{} bytes at {:#x}, {} bytes behind the end of an allocation of {}",
                          bytes, address, address - address_of(before) - before.bytes,
                          before.bytes));
}

void GlobalMemory::read(std::uint64_t address, std::span<std::byte> bytes, std::size_t alignment,
                        std::uint32_t thread, bool has_turn) {
  const MemoryArea& area = find(address, bytes.size(), alignment);
  const std::size_t offset = address - address_of(area);
  if (!has_turn && memory_uses().was_stored_lately(address, bytes.size())) {
    throw Fault(
        fmt::format("byte {} of an allocation of {} is read before the turn, and a kernel before "
                    "may still write it",
                    offset, area.bytes));
  }
  memory_uses().note_read(thread, address, bytes.size());
  copy_access(bytes.data(), area.data + offset, bytes.size());
}

void GlobalMemory::write(std::uint64_t address, std::span<const std::byte> bytes,
                         std::size_t alignment, std::uint32_t thread, bool has_turn) {
  const MemoryArea& area = find(address, bytes.size(), alignment);
  const std::size_t offset = address - address_of(area);
  if (!has_turn) {
    throw Fault(fmt::format("byte {} of an allocation of {} is written before the turn", offset,
                            area.bytes));
  }
  memory_uses().note_store(thread, address, bytes.size());
  copy_access(area.data + offset, bytes.data(), bytes.size());
}

}  // namespace dsl::test::ptx
