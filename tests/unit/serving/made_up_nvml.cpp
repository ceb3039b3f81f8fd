// A management library with two made-up GPUs, of which the second tells less.
#include <cstdint>
#include <cstring>

#include "engine/serving/engine_port/nvml_interface.h"

using dsl::serving::NvmlMemory;
using dsl::serving::NvmlUtilization;

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = reinterpret_cast<void*>(static_cast<std::uintptr_t>(index + 1));
  return 0;
}
int nvmlDeviceGetName(void* device, char* name, unsigned size) {
  std::strncpy(name, reinterpret_cast<std::uintptr_t>(device) == 1 ? "First" : "Second", size);
  return 0;
}
int nvmlDeviceGetUtilizationRates(void* device, NvmlUtilization* utilization) {
  if (reinterpret_cast<std::uintptr_t>(device) == 2) return 3;  // NVML_ERROR_NOT_SUPPORTED
  *utilization = {25, 50};
  return 0;
}
int nvmlDeviceGetMemoryInfo(void*, NvmlMemory* memory) {
  *memory = {1000, 600, 400};
  return 0;
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 71'500;
  return 0;
}
int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) {
  *celsius = 41;
  return 0;
}
}
