#include "engine/runtime/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

namespace dsl {
namespace {

/// Bytes of an entry of /proc/meminfo; 0 where there is none.
std::int64_t meminfo_bytes(std::string_view wanted) {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::int64_t kib = 0;
  std::string unit;
  while (meminfo >> key >> kib >> unit) {
    if (key == wanted) return kib * 1024;
  }
  return 0;
}

/// The host has done what was started when the call returns.
class PassedMark final : public Mark {
 public:
  Status set() override { return {}; }
  Status wait() override { return {}; }
};

}  // namespace

Result<void*> Memory::allocate(std::size_t bytes, std::string_view what) {
  DSL_ASSIGN(void* data, take(bytes, what));
  const auto size = static_cast<std::int64_t>(bytes);
  const std::int64_t now = allocated_.fetch_add(size, std::memory_order_relaxed) + size;
  std::int64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < now && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return data;
}

void Memory::release(void* data, std::size_t bytes) {
  give_back(data, bytes);
  allocated_.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
}

std::int64_t HostMemory::free_bytes() const { return meminfo_bytes("MemAvailable:"); }
std::int64_t HostMemory::total_bytes() const { return meminfo_bytes("MemTotal:"); }

Result<void*> HostMemory::take(std::size_t bytes, std::string_view what) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer cached tokens or use more ranks",
                "allocating {} bytes for the {}: {}", bytes, what, std::strerror(errno));
  }
  return data;
}

void HostMemory::give_back(void* data, std::size_t bytes) { ::munmap(data, bytes); }

Status HostMemory::zero(void* data, std::size_t bytes) {
  std::memset(data, 0, bytes);
  return {};
}

Status HostMemory::write(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  return {};
}

Status HostMemory::read(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  return {};
}

Status HostMemory::copy_rows(const RowCopy& copy) {
  auto* to = static_cast<std::byte*>(copy.to);
  const auto* from = static_cast<const std::byte*>(copy.from);
  for (std::size_t row = 0; row < copy.num_rows; ++row) {
    std::memcpy(to + row * copy.to_stride, from + row * copy.from_stride, copy.row_bytes);
  }
  return {};
}

Status HostMemory::start_copy(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  return {};
}

Result<std::unique_ptr<Mark>> HostMemory::make_mark() { return std::make_unique<PassedMark>(); }

HostMemory& host_memory() {
  static HostMemory memory;
  return memory;
}

Result<Buffer> Buffer::allocate(Memory& memory, std::size_t bytes, std::string_view what) {
  if (bytes == 0) return Buffer();
  DSL_ASSIGN(void* data, memory.allocate(bytes, what));
  return Buffer(memory, data, bytes);
}

}  // namespace dsl
