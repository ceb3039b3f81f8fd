#include "engine/runtime/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

namespace dsl {

std::int64_t HostMemory::free_bytes() const {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::int64_t kib = 0;
  std::string unit;
  while (meminfo >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

Result<void*> HostMemory::allocate(std::size_t bytes, std::string_view what) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kOutOfMemory, "ask for fewer cached tokens or use more ranks",
                "allocating {} bytes for the {}: {}", bytes, what, std::strerror(errno));
  }
  return data;
}

void HostMemory::release(void* data, std::size_t bytes) { ::munmap(data, bytes); }

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
