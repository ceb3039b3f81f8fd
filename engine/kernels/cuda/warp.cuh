// What the lanes of a warp do together. All 32 must call.
#pragma once

#include "engine/kernels/cuda/launch.cuh"
#include "engine/kernels/cuda/threads.cuh"

namespace dsl::cuda {

/// Every lane gets the same bits: the butterfly adds the same pairs on both sides.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

}  // namespace dsl::cuda
