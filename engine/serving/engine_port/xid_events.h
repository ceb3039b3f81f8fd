// Xid errors: what the driver reports of a GPU, or of a program on it, that went wrong.
#pragma once

#include <cstdint>
#include <map>

#include "engine/serving/engine_port/nvml_library.h"

namespace dsl::serving {

/// Hears of them from its creation on. The library must outlive it. Thread-compatible.
class XidEvents {
 public:
  struct Heard {
    std::int64_t count = 0;
    int last = 0;
  };

  explicit XidEvents(const NvmlLibrary& library);
  ~XidEvents();
  XidEvents(const XidEvents&) = delete;
  XidEvents& operator=(const XidEvents&) = delete;

  /// Whether the device tells of them.
  bool hears(NvmlDevice device) const { return heard_.contains(device); }
  /// Takes what has come, without waiting.
  void poll();
  Heard of(NvmlDevice device) const { return heard_.at(device); }

 private:
  const NvmlLibrary& library_;
  NvmlEventSet events_ = nullptr;
  std::map<NvmlDevice, Heard> heard_;  // the devices that tell
};

}  // namespace dsl::serving
