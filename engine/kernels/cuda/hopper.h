// Code for Hopper alone (target sm_90a).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string_view>

namespace dsl::cuda {

/// It is in this build (DSL_SM90A, from CMake), and the device is the one that runs it.
inline bool has_hopper_code(int device) {
#ifdef DSL_SM90A
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

/// It is there, and is not switched off: a variable of the environment says so with "off".
inline bool uses_hopper_code(int device, const char* variable) {
  const char* const wish = std::getenv(variable);
  return (wish == nullptr || std::string_view(wish) != "off") && has_hopper_code(device);
}

}  // namespace dsl::cuda
