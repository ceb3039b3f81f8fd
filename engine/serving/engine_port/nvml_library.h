// NVIDIA's management library (NVML), loaded where it is.
#pragma once

#include <dlfcn.h>

#include <memory>
#include <optional>
#include <string>

#include "engine/serving/engine_port/nvml_interface.h"

namespace dsl::serving {

/// Owns the loaded library. Functions that this driver lacks are null. Thread-compatible.
class NvmlLibrary {
 public:
  /// Null without a library of this name, without what one cannot do without, and without a driver.
  static std::unique_ptr<NvmlLibrary> open(const std::string& name);
  ~NvmlLibrary();
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;

  /// The answer to one of NVML's questions, `function(device, further..., &value)`; nothing where
  /// it is not known or fails.
  template <typename Value, typename Function, typename... Further>
  static std::optional<Value> ask(Function function, NvmlDevice device, Further... further) {
    Value value{};
    if (function == nullptr || function(device, further..., &value) != kNvmlSuccess) {
      return std::nullopt;
    }
    return value;
  }

 private:
  explicit NvmlLibrary(void* handle) : handle_(handle) {}

  template <typename Function>
  Function* find(const char* symbol) const {
    return reinterpret_cast<Function*>(::dlsym(handle_, symbol));
  }

  void* const handle_;
  bool is_initialised_ = false;
  int (*const shut_down_)() = find<int()>("nvmlShutdown");

 public:
  int (*const count)(unsigned*) = find<int(unsigned*)>("nvmlDeviceGetCount_v2");
  int (*const device)(unsigned, NvmlDevice*) =
      find<int(unsigned, NvmlDevice*)>("nvmlDeviceGetHandleByIndex_v2");
  int (*const name)(NvmlDevice, char*,
                    unsigned) = find<int(NvmlDevice, char*, unsigned)>("nvmlDeviceGetName");
  int (*const utilization)(NvmlDevice, NvmlUtilization*) =
      find<int(NvmlDevice, NvmlUtilization*)>("nvmlDeviceGetUtilizationRates");
  int (*const memory)(NvmlDevice,
                      NvmlMemory*) = find<int(NvmlDevice, NvmlMemory*)>("nvmlDeviceGetMemoryInfo");
  int (*const power)(NvmlDevice,
                     unsigned*) = find<int(NvmlDevice, unsigned*)>("nvmlDeviceGetPowerUsage");
  int (*const temperature)(NvmlDevice, int, unsigned*) =
      find<int(NvmlDevice, int, unsigned*)>("nvmlDeviceGetTemperature");

  int (*const ecc_errors)(NvmlDevice, int kind, int since, unsigned long long*) =
      find<int(NvmlDevice, int, int, unsigned long long*)>("nvmlDeviceGetTotalEccErrors");
  /// GPUs before Ampere put pages out of use, later ones rows.
  int (*const retired_pages_pending)(NvmlDevice, unsigned*) =
      find<int(NvmlDevice, unsigned*)>("nvmlDeviceGetRetiredPagesPendingStatus");
  int (*const remapped_rows)(NvmlDevice, unsigned* correctable, unsigned* uncorrectable,
                             unsigned* is_pending, unsigned* has_failed) =
      find<int(NvmlDevice, unsigned*, unsigned*, unsigned*, unsigned*)>(
          "nvmlDeviceGetRemappedRows");
  int (*const throttle_reasons)(NvmlDevice, unsigned long long*) =
      find<int(NvmlDevice, unsigned long long*)>("nvmlDeviceGetCurrentClocksThrottleReasons");

  int (*const create_events)(NvmlEventSet*) = find<int(NvmlEventSet*)>("nvmlEventSetCreate");
  int (*const free_events)(NvmlEventSet) = find<int(NvmlEventSet)>("nvmlEventSetFree");
  int (*const register_events)(NvmlDevice, unsigned long long types, NvmlEventSet) =
      find<int(NvmlDevice, unsigned long long, NvmlEventSet)>("nvmlDeviceRegisterEvents");
  int (*const wait_event)(NvmlEventSet, NvmlEvent*, unsigned timeout_ms) =
      find<int(NvmlEventSet, NvmlEvent*, unsigned)>("nvmlEventSetWait_v2");
};

}  // namespace dsl::serving
