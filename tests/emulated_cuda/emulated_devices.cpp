#include "tests/emulated_cuda/emulated_devices.h"

#include <cstdio>
#include <cstring>

#include "emulated_capture.h"
#include "emulated_launch.h"
#include "emulated_memory.h"
#include "emulated_streams.h"

namespace dsl::test {

DeviceMemory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

bool is_current(cudaStream_t stream) { return stream->device == current_device; }

void set_emulated_devices(int count, std::int64_t bytes) { device_memory().set(count, bytes); }
std::int64_t device_bytes_in_use(int device) { return device_memory().use(device).in_use; }
std::int64_t device_bytes_peak(int device) { return device_memory().use(device).peak; }
void reset_peaks() { device_memory().reset_peaks(); }
std::int64_t page_locked_bytes_in_use() { return device_memory().page_locked_use().in_use; }
std::int64_t page_locked_bytes_peak() { return device_memory().page_locked_use().peak; }
void limit_page_locked_bytes(std::int64_t bytes) { device_memory().limit_page_locked(bytes); }
void set_emulated_reuse(bool is_reused) { device_memory().set_reuse(is_reused); }
bool is_device_memory(const void* data, std::size_t bytes) {
  return device_memory().is_of_device(data, bytes);
}

}  // namespace dsl::test

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= dsl::test::device_memory().num_devices()) {
    return cudaErrorInvalidDevice;
  }
  dsl::test::current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = dsl::test::current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = dsl::test::device_memory().num_devices();
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 5;  // so few that blocks take several tiles
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(dsl::test::max_shared_bytes());
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* bus, int size, int device) {
  std::snprintf(bus, static_cast<std::size_t>(size), "0000:%02x:00.0", device);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  std::strcpy(properties->name, "emulated");
  properties->uuid.bytes[0] = static_cast<char>(device + 1);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  if (!dsl::test::may_run_now()) return cudaErrorStreamCaptureUnsupported;
  *data = dsl::test::device_memory().allocate(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  dsl::test::DeviceMemory& memory = dsl::test::device_memory();
  *total = static_cast<std::size_t>(memory.bytes_of_device());
  *free = *total - static_cast<std::size_t>(memory.use(dsl::test::current_device).in_use);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  if (!dsl::test::may_run_now()) return cudaErrorStreamCaptureUnsupported;
  *data = dsl::test::device_memory().allocate_page_locked(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeHost(void* data) {
  dsl::test::device_memory().release_page_locked(data);
  return cudaSuccess;
}
