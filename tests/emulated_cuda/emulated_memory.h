// The memory of the emulated devices.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
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
    explicit Opening(DeviceMemory& memory, bool is_open = true)
        : memory_(memory), lock_(memory.mutex_) {
      if (is_open) open();
    }
    ~Opening() { memory_.protect(PROT_NONE); }
    /// Later, where it did not begin as open.
    void open() { memory_.protect(PROT_READ | PROT_WRITE); }
    /// What a kernel on that device may touch: its memory and the page-locked, each area as long as
    /// was asked for.
    std::vector<std::span<std::byte>> areas(int device) const { return memory_.areas(device); }
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;

   private:
    DeviceMemory& memory_;
    std::lock_guard<std::mutex> lock_;
  };

  /// Null when the thread's device or the system has no more.
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t size = (bytes + granule_ - 1) / granule_ * granule_;
    Device& device = current();
    if (device.in_use + static_cast<std::int64_t>(bytes) > bytes_of_device_) return nullptr;
    void* data = mmap(next_, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
    if (granule_ == kReusedBytes) next_ = data;
    areas_.erase(found);
  }

  /// Of the host. Null beyond the limit.
  void* allocate_page_locked(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto asked = static_cast<std::int64_t>(bytes);
    if (asked > page_locked_limit_ - page_locked_.in_use) return nullptr;
    page_locked_.in_use += asked;
    page_locked_.peak = std::max(page_locked_.peak, page_locked_.in_use);
    auto area = std::make_unique<std::byte[]>(bytes);
    std::memset(area.get(), 0xff, bytes);
    void* const data = area.get();
    page_locked_areas_[data] = {bytes, std::move(area)};
    return data;
  }
  void release_page_locked(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = page_locked_areas_.find(data);
    if (found == page_locked_areas_.end()) return;
    page_locked_.in_use -= static_cast<std::int64_t>(found->second.first);
    page_locked_areas_.erase(found);
  }

  /// Whether all of it is a device's.
  bool is_of_device(const void* data, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    return holds(areas_, data, bytes, [](const Area& area) { return area.mapped; });
  }
  /// Whether all of it is a device's or page-locked.
  bool owns(const void* data, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    return holds(areas_, data, bytes, [](const Area& area) { return area.mapped; }) ||
           holds(page_locked_areas_, data, bytes, [](const auto& area) { return area.first; });
  }

  struct Use {
    std::int64_t in_use = 0;
    std::int64_t peak = 0;
  };
  Use use(int device) {
    const std::lock_guard lock(mutex_);
    return devices_[static_cast<std::size_t>(device)];
  }
  Use page_locked_use() {
    const std::lock_guard lock(mutex_);
    return page_locked_;
  }
  void reset_peaks() {
    const std::lock_guard lock(mutex_);
    for (Device& device : devices_) device.peak = device.in_use;
    page_locked_.peak = page_locked_.in_use;
  }
  void limit_page_locked(std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    page_locked_limit_ = bytes;
  }

  void set(int count, std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    DSL_CHECK(areas_.empty(), "{} areas of the devices' memory are in use", areas_.size());
    devices_.assign(static_cast<std::size_t>(count), {});
    bytes_of_device_ = bytes == 0 ? machine_bytes() : bytes;
  }
  void set_reuse(bool is_reused) {
    const std::lock_guard lock(mutex_);
    DSL_CHECK(areas_.empty(), "{} areas of the devices' memory are in use", areas_.size());
    granule_ = is_reused ? kReusedBytes : kPageBytes;
    next_ = nullptr;
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

  /// What grows within that finds room at its old address.
  static constexpr std::size_t kReusedBytes = std::size_t{1} << 20;
  inline static const auto kPageBytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

  static std::int64_t machine_bytes() { return sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE); }
  Device& current() { return devices_[static_cast<std::size_t>(current_device)]; }
  template <typename Areas, typename Size>
  static bool holds(const Areas& areas, const void* data, std::size_t bytes, const Size& size) {
    auto area = areas.upper_bound(const_cast<void*>(data));
    if (area == areas.begin()) return false;
    --area;
    const auto offset = static_cast<const std::byte*>(data) - static_cast<std::byte*>(area->first);
    return static_cast<std::size_t>(offset) + bytes <= size(area->second);
  }
  std::vector<std::span<std::byte>> areas(int device) const {
    std::vector<std::span<std::byte>> areas;
    for (const auto& [data, area] : areas_) {
      if (area.device != device) continue;
      areas.emplace_back(static_cast<std::byte*>(data), static_cast<std::size_t>(area.asked));
    }
    for (const auto& [data, area] : page_locked_areas_) {
      areas.emplace_back(area.second.get(), area.first);
    }
    return areas;
  }
  void protect(int access) {
    for (const auto& [data, area] : areas_) mprotect(data, area.mapped, access);
  }

  std::mutex mutex_;
  std::map<void*, Area> areas_;
  std::size_t granule_ = kPageBytes;  // of areas
  void* next_ = nullptr;              // where the next one is asked for
  std::vector<Device> devices_ = std::vector<Device>(1);
  std::int64_t bytes_of_device_ = machine_bytes();
  std::map<void*, std::pair<std::size_t, std::unique_ptr<std::byte[]>>> page_locked_areas_;
  Use page_locked_;
  std::int64_t page_locked_limit_ = machine_bytes();
};

DeviceMemory& device_memory();

}  // namespace dsl::test
