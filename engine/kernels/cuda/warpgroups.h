// Whether products of warpgroups (warpgroup_mma.cuh) may be started.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string_view>

namespace dsl::cuda {

/// Set to "off" where FP8 is to be multiplied as BF16, for comparison.
inline constexpr const char* kWarpgroupsVariable = "DSL_WARPGROUPS";

/// Code for them is there (DSL_SM90A, from CMake), and the device is the one that has them: Hopper.
inline bool uses_warpgroups(int device) {
#ifdef DSL_SM90A
  const char* const wish = std::getenv(kWarpgroupsVariable);
  if (wish != nullptr && std::string_view(wish) == "off") return false;
  int major = 0;
  int minor = 0;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess &&
         major == 9 && minor == 0;
#else
  static_cast<void>(device);
  return false;
#endif
}

}  // namespace dsl::cuda
