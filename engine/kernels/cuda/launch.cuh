// How kernels are started.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace dsl::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

/// Dynamic shared memory that every kernel may have; more must be asked for, kernel by kernel.
inline constexpr std::size_t kPlainSharedBytes = 48 * 1024;

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;                      // dynamic shared memory
  std::size_t max_shared_bytes = kPlainSharedBytes;  // what the device has for a kernel
  bool may_start_early = false;  // beside the kernel before: it waits for its turn (turns.cuh)
};

/// 0 after a failure, which comes out elsewhere.
inline int device_attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

/// What a kernel may ask for on a device.
inline std::size_t max_shared_bytes(int device) {
  return static_cast<std::size_t>(
      device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
}

/// Puts the kernel behind what is on the stream already. Errors that show up later come out when
/// the stream is waited for. An empty grid is no work.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(cudaStream_t stream, const LaunchShape& shape, void (*kernel)(Parameters...),
                   Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return cudaSuccess;
  if (shape.shared_bytes > kPlainSharedBytes) {
    // All threads and recordings of the process share the limit: one that followed the shape would
    // fall between another thread's asking and its launch.
    const std::size_t limit = std::max(shape.shared_bytes, shape.max_shared_bytes);
    const cudaError_t granted = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(limit));
    if (granted != cudaSuccess) return granted;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = shape.may_start_early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...);
}

/// Blocks of `size` that cover `count` items.
inline unsigned blocks_for(std::int64_t count, std::int64_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace dsl::cuda
