// Whether kernels may start beside the one before them on the stream (CUDA: programmatic dependent
// launch). A step is some hundred short kernels, and from the end of one to the first instruction
// of the next the device does nothing; so the next takes its place on the multiprocessors before,
// and waits there.
#pragma once

#include "engine/kernels/cuda/hopper.h"

namespace dsl::cuda {

/// Set to "off" where every kernel is to start after the end of the one before, for comparison.
inline constexpr const char* kDependentLaunchVariable = "DSL_DEPENDENT_LAUNCH";

inline bool uses_dependent_launch(int device) {
  return uses_hopper_code(device, kDependentLaunchVariable);
}

}  // namespace dsl::cuda
