// What a rank holds of its device: noted by its engine thread, read by any other.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "engine/model/memory_plan.h"

namespace dsl {

/// One writer, any number of readers, which may see parts of an update. Thread-safe.
class DeviceUse {
 public:
  /// In bytes; `used` and `peak` count what was allocated, `planned` what was to be.
  struct Reading {
    std::string device;  // its name
    model::MemoryPlan planned;
    std::int64_t used = 0;
    std::int64_t peak = 0;
  };

  DeviceUse(std::string device, const model::MemoryPlan& planned)
      : device_(std::move(device)), planned_(planned) {}

  void note(std::int64_t used, std::int64_t peak) {
    used_.store(used, std::memory_order_relaxed);
    peak_.store(peak, std::memory_order_relaxed);
  }
  Reading read() const {
    return {device_, planned_, used_.load(std::memory_order_relaxed),
            peak_.load(std::memory_order_relaxed)};
  }

 private:
  const std::string device_;
  const model::MemoryPlan planned_;
  std::atomic<std::int64_t> used_{0};
  std::atomic<std::int64_t> peak_{0};
};

}  // namespace dsl
