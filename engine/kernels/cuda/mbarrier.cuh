// Barriers in shared memory at which some threads of a block arrive and others wait, each as often
// as it likes: phase after phase. Source: PTX ISA, mbarrier.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/warpgroup_mma.cuh"

#ifndef __CUDACC__
#include <emulated_mbarrier.h>
#endif

namespace dsl::cuda {

/// In shared memory.
struct alignas(8) Mbarrier {
  std::uint64_t state;

  /// Of one thread, before all of the block meet: a phase ends with so many arrivals.
  __device__ void init(int arrivals) {
#ifdef __CUDACC__
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)),
                 "r"(arrivals)
                 : "memory");
#else
    test::init_mbarrier(this, arrivals);
#endif
  }

  /// Who waits for this phase sees what this thread did before.
  __device__ void arrive() {
#ifdef __CUDACC__
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(
                     shared_address(this))
                 : "memory");
#else
    test::arrive_at_mbarrier(this);
#endif
  }

  /// Until phase `phase` has ended, counted from 0, of which the one before has ended. Whole warps
  /// call.
  __device__ void wait(unsigned phase) {
    while (!has_ended_soon(phase)) {
    }
  }
  /// Whether it has, for all lanes alike. What others did before is seen then.
  __device__ bool has_ended(unsigned phase) {
#ifdef __CUDACC__
    std::uint32_t ended;
    asm volatile(
        "{\n.reg .pred ended;\nmbarrier.test_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n}"
        : "=r"(ended)
        : "r"(shared_address(this)), "r"(phase % 2)
        : "memory");
    const bool has_ended = ended != 0;
#else
    const bool has_ended = test::mbarrier_has_ended(this, phase % 2);
#endif
    return __ballot_sync(kAllLanes, has_ended) == kAllLanes;
  }

 private:
  /// Waits for a while, as long as the system sees fit.
  __device__ bool has_ended_soon(unsigned phase) {
#ifdef __CUDACC__
    std::uint32_t ended;
    asm volatile(
        "{\n.reg .pred ended;\nmbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n}"
        : "=r"(ended)
        : "r"(shared_address(this)), "r"(phase % 2)
        : "memory");
    return ended != 0;
#else
    return test::wait_at_mbarrier(this, phase % 2);
#endif
  }
};

}  // namespace dsl::cuda
