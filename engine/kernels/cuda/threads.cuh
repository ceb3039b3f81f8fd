// Which thread of its block this is.
#pragma once

#include "engine/kernels/cuda/launch.cuh"

namespace dsl::cuda {

/// threadIdx.x, of which nvcc 13.0 does not know that it is not negative: a division of it by a
/// power of two takes four instructions otherwise.
__device__ inline int thread_index() {
  const int index = static_cast<int>(threadIdx.x);
#ifdef __CUDACC__
  __builtin_assume(index >= 0);
#endif
  return index;
}
__device__ inline int lane_index() { return thread_index() % kWarpSize; }
__device__ inline int warp_index() { return thread_index() / kWarpSize; }

}  // namespace dsl::cuda
