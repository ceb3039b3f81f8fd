// The turns that kernels take on a stream where the next may start beside the one before
// (dependent_launch.h). Source: PTX ISA, griddepcontrol.
#pragma once

#include <cuda_runtime.h>

namespace dsl::cuda {

/// Once all blocks have called it or ended, those of the next kernel may take their places.
__device__ inline void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Returns when the kernel before has ended and what it wrote can be read. As it waited for its own
/// turn, so have all before it.
__device__ inline void wait_for_turn() {
#ifndef __CUDACC__
  test::take_turn();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Asks for a line of memory to be near when it is read, behind the turn. Reads nothing.
__device__ inline void prefetch_line(const void* address) {
#ifdef __CUDACC__
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#else
  static_cast<void>(address);
#endif
}

/// What no kernel writes, such as weights, may be read from here on, before the turn.
__device__ inline void read_constants_early() {
#ifndef __CUDACC__
  test::open_memory();
#endif
}

/// Every thread of every kernel that a Launcher starts calls it, or both of the above, before it
/// writes anything or reads what a kernel may have written.
__device__ inline void take_turn() {
  let_next_start();
  wait_for_turn();
}

}  // namespace dsl::cuda
