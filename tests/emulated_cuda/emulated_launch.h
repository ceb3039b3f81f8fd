// Launches of kernels, whoever runs their threads.
#pragma once

#include <cstddef>
#include <functional>

#include "emulated_memory.h"
#include "tests/emulated_cuda/include/cuda_runtime_api.h"

namespace dsl::test {

/// Dynamic shared memory that a kernel may ask for at most: as much as Hopper has.
inline constexpr std::size_t kMaxSharedBytes = 227 * 1024;
/// And now (limit_emulated_shared_bytes).
std::size_t max_shared_bytes();

/// Whether it may run beside the kernel before, and waits for its turn itself.
bool may_start_early(const cudaLaunchConfig_t& config);

/// Runs all threads of a grid. `follows_kernel`: the kernel before on its stream may not have
/// ended.
using RunGrid = std::function<void(DeviceMemory::Opening& opening, bool follows_kernel)>;

/// Puts `run` on the stream, or records that. It has the devices' memory open, but closed where the
/// kernel may start early: then it opens it.
cudaError_t put_grid(const void* kernel, const cudaLaunchConfig_t& config, RunGrid run);

}  // namespace dsl::test
