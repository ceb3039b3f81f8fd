// A management library with made-up GPUs: one that is well, one that tells little, as an older
// driver would, and one with much that is wrong.
#include <array>
#include <cstdint>
#include <cstring>

#include "engine/serving/engine_port/nvml_interface.h"

using namespace dsl::serving;

namespace {

[[maybe_unused]] constexpr int kWell = 1;
constexpr int kSilent = 2;
[[maybe_unused]] constexpr int kBroken = 3;
constexpr std::array kNames{"First", "Second", "Third"};

int number_of(NvmlDevice device) {
  return static_cast<int>(reinterpret_cast<std::uintptr_t>(device));
}
[[maybe_unused]] NvmlDevice device_of(int number) {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(number));
}

[[maybe_unused]] int num_events = 2;  // that the broken one has still to tell

}  // namespace

extern "C" {

int nvmlInit_v2() { return kNvmlSuccess; }
int nvmlShutdown() { return kNvmlSuccess; }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = kNames.size();
  return kNvmlSuccess;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, NvmlDevice* device) {
  *device = device_of(static_cast<int>(index) + 1);
  return kNvmlSuccess;
}
int nvmlDeviceGetName(NvmlDevice device, char* name, unsigned size) {
  std::strncpy(name, kNames[static_cast<std::size_t>(number_of(device) - 1)], size);
  return kNvmlSuccess;
}
int nvmlDeviceGetUtilizationRates(NvmlDevice device, NvmlUtilization* utilization) {
  if (number_of(device) == kSilent) return kNvmlNotSupported;
  *utilization = {25, 50};
  return kNvmlSuccess;
}
int nvmlDeviceGetMemoryInfo(NvmlDevice, NvmlMemory* memory) {
  *memory = {1000, 600, 400};
  return kNvmlSuccess;
}
int nvmlDeviceGetPowerUsage(NvmlDevice, unsigned* milliwatts) {
  *milliwatts = 71'500;
  return kNvmlSuccess;
}
int nvmlDeviceGetTemperature(NvmlDevice, int, unsigned* celsius) {
  *celsius = 41;
  return kNvmlSuccess;
}

#ifndef DSL_OLD_DRIVER
int nvmlDeviceGetTotalEccErrors(NvmlDevice device, int kind, int since,
                                unsigned long long* errors) {
  if (number_of(device) == kSilent || kind != kNvmlUncorrected) return kNvmlNotSupported;
  *errors = number_of(device) == kWell ? 0 : since == kNvmlEver ? 5 : 3;
  return kNvmlSuccess;
}
int nvmlDeviceGetRetiredPagesPendingStatus(NvmlDevice device, unsigned* is_pending) {
  if (number_of(device) != kWell) return kNvmlNotSupported;
  *is_pending = 0;
  return kNvmlSuccess;
}
int nvmlDeviceGetRemappedRows(NvmlDevice device, unsigned* correctable, unsigned* uncorrectable,
                              unsigned* is_pending, unsigned* has_failed) {
  if (number_of(device) != kBroken) return kNvmlNotSupported;
  *correctable = 1;
  *uncorrectable = 2;
  *is_pending = 1;
  *has_failed = 0;
  return kNvmlSuccess;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(NvmlDevice device, unsigned long long* reasons) {
  if (number_of(device) == kSilent) return kNvmlNotSupported;
  *reasons =
      number_of(device) == kWell ? kNvmlPowerCap : kNvmlHardwareThermal | kNvmlHardwareSlowdown;
  return kNvmlSuccess;
}

int nvmlEventSetCreate(NvmlEventSet* set) {
  *set = device_of(77);
  return kNvmlSuccess;
}
int nvmlEventSetFree(NvmlEventSet) { return kNvmlSuccess; }
int nvmlDeviceRegisterEvents(NvmlDevice device, unsigned long long types, NvmlEventSet) {
  return number_of(device) != kSilent && types == kNvmlXidEvent ? kNvmlSuccess : kNvmlNotSupported;
}
int nvmlEventSetWait_v2(NvmlEventSet, NvmlEvent* event, unsigned) {
  if (num_events == 0) return kNvmlTimeout;
  *event = {device_of(kBroken), kNvmlXidEvent, num_events == 2 ? 94ull : 79ull, 0, 0};
  --num_events;
  return kNvmlSuccess;
}
#endif
}
