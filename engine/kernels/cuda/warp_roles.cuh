// Registers that warpgroups of a block leave to each other. Source: PTX ISA, setmaxnreg.
#pragma once

#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// From here on each thread has so many registers, a multiple of 8, less than before. All warps of
/// the warpgroup call.
template <int kRegisters>
__device__ void keep_registers() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

/// The same, more than before: it waits until others have left them.
template <int kRegisters>
__device__ void take_registers() {
#ifdef __CUDACC__
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

}  // namespace dsl::cuda
