#include "tests/emulated_cuda/emulated_devices.h"

#include <cstdio>
#include <cstring>

#include "emulated_capture.h"
#include "emulated_memory.h"

namespace dsl::test {
namespace {

/// A stream's handle names its device.
cudaStream_t stream_of(int device) {
  return reinterpret_cast<cudaStream_t>(static_cast<std::uintptr_t>(device) + 1);
}

}  // namespace

DeviceMemory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

bool is_current(cudaStream_t stream) { return stream == stream_of(current_device); }

void set_emulated_devices(int count, std::int64_t bytes) { device_memory().set(count, bytes); }
std::int64_t device_bytes_in_use(int device) { return device_memory().use(device).in_use; }
std::int64_t device_bytes_peak(int device) { return device_memory().use(device).peak; }
void reset_peaks() { device_memory().reset_peaks(); }

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

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = dsl::test::stream_of(dsl::test::current_device);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return dsl::test::may_run_now() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  if (!dsl::test::may_run_now()) return cudaErrorStreamCaptureUnsupported;
  *data = dsl::test::device_memory().allocate(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  dsl::test::device_memory().release(data);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  dsl::test::DeviceMemory& memory = dsl::test::device_memory();
  *total = static_cast<std::size_t>(memory.bytes_of_device());
  *free = *total - static_cast<std::size_t>(memory.use(dsl::test::current_device).in_use);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int byte, std::size_t bytes, cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  return dsl::test::run_or_record([=] {
    const dsl::test::DeviceMemory::Opening opening(dsl::test::device_memory());
    std::memset(data, byte, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  if (!dsl::test::is_current(stream)) return cudaErrorInvalidResourceHandle;
  // All are from or to pageable memory of the host, which a capture does not allow.
  if (!dsl::test::may_run_now()) return cudaErrorStreamCaptureUnsupported;
  const dsl::test::DeviceMemory::Opening opening(dsl::test::device_memory());
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
