#include "emulated_launch.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <span>
#include <utility>

#include "emulated_capture.h"
#include "emulated_devices.h"
#include "emulated_streams.h"
#include "runtime_layout.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGridRows = 65535;  // of y and z
constexpr std::size_t kPlainSharedBytes = 48 * 1024;

/// What kernels asked for beyond the shared memory that all get.
std::mutex grants_mutex;
std::map<const void*, std::size_t> granted_bytes;
std::size_t most_bytes = kMaxSharedBytes;  // that they may ask for

std::size_t shared_limit(const void* kernel) {
  const std::lock_guard lock(grants_mutex);
  const auto found = granted_bytes.find(kernel);
  return std::max(found == granted_bytes.end() ? 0 : found->second, kPlainSharedBytes);
}

std::span<const cudaLaunchAttribute> attributes_of(const cudaLaunchConfig_t& config) {
  return {config.attrs, config.numAttrs};
}

bool is_valid(const void* kernel, const cudaLaunchConfig_t& config) {
  const dim3& grid = config.gridDim;
  return config.blockDim.x >= 1 && config.blockDim.x <= kMaxThreads && config.blockDim.y == 1 &&
         config.blockDim.z == 1 && grid.x >= 1 && grid.y >= 1 && grid.y <= kMaxGridRows &&
         grid.z >= 1 && grid.z <= kMaxGridRows && config.dynamicSmemBytes <= shared_limit(kernel) &&
         std::ranges::all_of(attributes_of(config), [](const cudaLaunchAttribute& attribute) {
           return attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization;
         });
}

}  // namespace

std::size_t max_shared_bytes() {
  const std::lock_guard lock(grants_mutex);
  return most_bytes;
}

void limit_emulated_shared_bytes(std::size_t bytes) {
  const std::lock_guard lock(grants_mutex);
  most_bytes = bytes == 0 ? kMaxSharedBytes : bytes;
  granted_bytes.clear();
}

bool may_start_early(const cudaLaunchConfig_t& config) {
  return std::ranges::any_of(attributes_of(config), [](const cudaLaunchAttribute& attribute) {
    return attribute.val.programmaticStreamSerializationAllowed != 0;
  });
}

cudaError_t put_grid(const void* kernel, const cudaLaunchConfig_t& config, RunGrid run) {
  if (!is_valid(kernel, config)) return cudaErrorInvalidValue;
  const cudaStream_t stream = config.stream;
  if (stream == nullptr || !is_current(stream)) return cudaErrorInvalidResourceHandle;
  return run_or_record([stream, starts_closed = may_start_early(config), run = std::move(run)] {
    const bool follows_kernel = stream->follows_kernel;
    stream->put(
        [starts_closed, follows_kernel, run] {
          DeviceMemory::Opening opening(device_memory(), !starts_closed);
          run(opening, follows_kernel);
          return true;
        },
        true);
    return cudaSuccess;
  });
}

}  // namespace dsl::test

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const auto is_valid = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value >= 0 &&
                        value <= static_cast<int>(dsl::test::max_shared_bytes());
  if (!is_valid) return cudaErrorInvalidValue;
  const std::lock_guard lock(dsl::test::grants_mutex);
  std::size_t& granted = dsl::test::granted_bytes[kernel];
  // CUDA does it, and launches of other threads that asked for more fail.
  DSL_CHECK(granted <= static_cast<std::size_t>(value),
            "a kernel's shared memory is limited to {} bytes after {} were granted", value,
            granted);
  granted = static_cast<std::size_t>(value);
  return cudaSuccess;
}
