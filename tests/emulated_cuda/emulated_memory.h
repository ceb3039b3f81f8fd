// The memory of the emulated devices.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "cuda_runtime_api.h"
#include "transport/base/error.h"

namespace dsl::test {

/// Of the calling thread.
inline thread_local int current_device = 0;

/// Whether the stream belongs to that device.
bool is_current(cudaStream_t stream);

/// The devices' memory: closed to all but what holds an Opening. Thread-safe.
class DeviceMemory {
 public:
  /// One at a time: what runs on the device, too, is one after the other.
  class Opening {
   public:
    explicit Opening(DeviceMemory& memory) : memory_(memory), lock_(memory.mutex_) {
      memory_.protect(PROT_READ | PROT_WRITE);
    }
    ~Opening() { memory_.protect(PROT_NONE); }
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;

   private:
    DeviceMemory& memory_;
    std::lock_guard<std::mutex> lock_;
  };

  /// Null when the thread's device or the system has no more.
  void* allocate(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t size = (bytes + page - 1) / page * page;
    const std::lock_guard lock(mutex_);
    Device& device = current();
    if (device.in_use + static_cast<std::int64_t>(bytes) > bytes_of_device_) return nullptr;
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    std::memset(data, 0xff, size);
    mprotect(data, size, PROT_NONE);
    areas_[data] = {size, static_cast<std::int64_t>(bytes), current_device};
    device.in_use += static_cast<std::int64_t>(bytes);
    device.peak = std::max(device.peak, device.in_use);
    return data;
  }

  void release(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = areas_.find(data);
    if (found == areas_.end()) return;
    const Area& area = found->second;
    devices_[static_cast<std::size_t>(area.device)].in_use -= area.asked;
    munmap(data, area.mapped);
    areas_.erase(found);
  }

  struct Use {
    std::int64_t in_use = 0;
    std::int64_t peak = 0;
  };
  Use use(int device) {
    const std::lock_guard lock(mutex_);
    return devices_[static_cast<std::size_t>(device)];
  }
  void reset_peaks() {
    const std::lock_guard lock(mutex_);
    for (Device& device : devices_) device.peak = device.in_use;
  }

  void set(int count, std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    DSL_CHECK(areas_.empty(), "{} areas of the devices' memory are in use", areas_.size());
    devices_.assign(static_cast<std::size_t>(count), {});
    bytes_of_device_ = bytes == 0 ? machine_bytes() : bytes;
  }
  int num_devices() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(devices_.size());
  }
  std::int64_t bytes_of_device() {
    const std::lock_guard lock(mutex_);
    return bytes_of_device_;
  }

 private:
  using Device = Use;
  struct Area {
    std::size_t mapped = 0;
    std::int64_t asked = 0;
    int device = 0;
  };

  static std::int64_t machine_bytes() { return sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE); }
  Device& current() { return devices_[static_cast<std::size_t>(current_device)]; }
  void protect(int access) {
    for (const auto& [data, area] : areas_) mprotect(data, area.mapped, access);
  }

  std::mutex mutex_;
  std::map<void*, Area> areas_;
  std::vector<Device> devices_ = std::vector<Device>(1);
  std::int64_t bytes_of_device_ = machine_bytes();
};

DeviceMemory& device_memory();

}  // namespace dsl::test
