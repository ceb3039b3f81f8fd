// What keeps a process from using a GPU that is there or should be, and what helps.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::cuda {

struct Obstacle {
  std::string_view remedy;           // empty: the error is no obstacle
  bool is_between_versions = false;  // of the driver and this build
};

inline Obstacle obstacle_of(cudaError_t error) {
  switch (error) {
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return {"see nvidia-smi and CUDA_VISIBLE_DEVICES: the rank sees no such NVIDIA GPU"};
    case cudaErrorInsufficientDriver:
      return {
          "see nvidia-smi: the node needs an NVIDIA driver for this CUDA version or a later one",
          true};
    case cudaErrorStubLibrary:
      return {
          "take the folder \"stubs\" of the CUDA toolkit out of LD_LIBRARY_PATH: its libcuda is "
          "for linking alone, and the driver's must be found"};
    case cudaErrorDevicesUnavailable:
      return {
          "see nvidia-smi: another process has the GPU for itself; end it, give every rank a GPU "
          "of its own, or let processes share it (nvidia-smi --compute-mode=DEFAULT)"};
    case cudaErrorNoKernelImageForDevice:
      return {
          "build with CMAKE_CUDA_ARCHITECTURES for this GPU: the kernels need compute capability "
          "8.0 or later"};
    case cudaErrorUnsupportedPtxVersion:
      return {
          "update the driver, or build with its CUDA version: it cannot compile the kernels for "
          "this GPU",
          true};
    case cudaErrorSystemNotReady:
      return {
          "GPUs behind NVSwitch need NVIDIA's fabric manager, of the driver's version: see "
          "`systemctl status nvidia-fabricmanager`, and wait for it after a boot"};
    case cudaErrorSystemDriverMismatch:
      return {
          "the driver in the kernel and libcuda are of two versions: reboot after an update of "
          "the driver; in a container mount the node's libcuda",
          true};
    case cudaErrorCompatNotSupportedOnDevice:
      return {
          "take CUDA's compatibility package (cuda-compat) out of LD_LIBRARY_PATH, which this GPU "
          "does not support, and update the driver",
          true};
    default:
      return {};
  }
}

/// Of CUDA: what the driver knows, and what this build was made with.
inline std::string describe_versions() {
  int driver = 0;
  int runtime = 0;
  const bool is_known = cudaDriverGetVersion(&driver) == cudaSuccess &&
                        cudaRuntimeGetVersion(&runtime) == cudaSuccess && driver > 0;
  if (!is_known) return "no driver answers";
  const auto text = [](int version) {
    return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  };
  return fmt::format("the driver is for CUDA {}, this build is of {}", text(driver), text(runtime));
}

}  // namespace dsl::cuda
