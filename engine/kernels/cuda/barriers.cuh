// Barriers for some warps of a block.
#pragma once

#include <cuda_runtime.h>

namespace dsl::cuda {

/// kThreads threads, whole warps, arrive before any goes on, and see what the others stored.
/// `barrier`: from 1 to 15, as 0 is __syncthreads().
template <int kThreads>
__device__ void wait_at_barrier(int barrier) {
#ifdef __CUDACC__
  asm volatile("barrier.cta.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
#else
  test::wait_at_barrier(barrier, kThreads);
#endif
}

}  // namespace dsl::cuda
