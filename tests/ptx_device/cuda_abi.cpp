// What programs that nvcc compiled call of CUDA's runtime to register and to start kernels, under
// the runtime's own names; tests/emulated_cuda has the rest.
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/emulated_cuda/emulated_launch.h"
#include "tests/emulated_cuda/emulated_memory.h"
#include "tests/ptx_device/cuda_programs.h"
#include "tests/ptx_device/module.h"

namespace dsl::test::ptx {
namespace {

/// Between `<<<...>>>` and the call that follows it.
struct CallConfiguration {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};
thread_local std::vector<CallConfiguration> call_configurations;

std::vector<std::byte> copy_parameters(const Kernel& kernel, void** arguments) {
  std::vector<std::byte> bytes;
  for (const Parameter& parameter : parameters_of(kernel)) {
    bytes.resize(std::size_t{parameter.offset} + parameter.bytes);
    std::memcpy(bytes.data() + parameter.offset, *arguments++, parameter.bytes);
  }
  return bytes;
}

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, const void* function,
                          void** arguments) {
  const Kernel* const kernel = find_kernel(function);
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  const dim3& grid = config.gridDim;
  GridShape shape{.grid = {grid.x, grid.y, grid.z},
                  .threads = config.blockDim.x,
                  .shared_bytes = static_cast<std::uint32_t>(config.dynamicSmemBytes),
                  .may_start_early = may_start_early(config)};
  return put_grid(
      function, config,
      [kernel, shape, device = current_device, parameters = copy_parameters(*kernel, arguments)](
          DeviceMemory::Opening& opening, bool follows_kernel) mutable {
        opening.open();
        shape.follows_kernel = follows_kernel;
        std::vector<MemoryArea> areas;
        for (const std::span<std::byte> area : opening.areas(device)) {
          areas.push_back({area.data(), area.size()});
        }
        run_grid(*kernel, shape, parameters, areas);
      });
}

}  // namespace
}  // namespace dsl::test::ptx

namespace ptx = dsl::test::ptx;

extern "C" {

void** __cudaRegisterFatBinary(void* registered) {
  return reinterpret_cast<void**>(ptx::add_program_part(registered));
}

void __cudaRegisterFatBinaryEnd(void**) {}

void __cudaUnregisterFatBinary(void**) {}

char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void** part, const char* function, char*, const char* name, int, void*,
                            void*, dim3*, dim3*, int*) {
  ptx::add_kernel(reinterpret_cast<ptx::ProgramPart*>(part), function, name);
}

/// The handle of a kernel is the address by which the host calls it.
cudaError_t __cudaGetKernel(const void** kernel, const void* function) {
  *kernel = function;
  return cudaSuccess;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes,
                                     cudaStream_t stream) {
  ptx::call_configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes,
                                       void* stream) {
  if (ptx::call_configurations.empty()) return cudaErrorInvalidValue;
  const ptx::CallConfiguration call = ptx::call_configurations.back();
  ptx::call_configurations.pop_back();
  *grid = call.grid;
  *block = call.block;
  *shared_bytes = call.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = call.stream;
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                               std::size_t shared_bytes, cudaStream_t stream) {
  return ptx::launch_kernel({grid, block, shared_bytes, stream, nullptr, 0}, kernel, arguments);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                void** arguments) {
  return ptx::launch_kernel(*config, function, arguments);
}

/// There is no profiler to tell.
cudaError_t cudaProfilerStart() { return cudaSuccess; }
cudaError_t cudaProfilerStop() { return cudaSuccess; }

}  // extern "C"
