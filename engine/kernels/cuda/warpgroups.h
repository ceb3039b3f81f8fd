// Whether products of warpgroups (warpgroup_mma.cuh) may be started.
#pragma once

#include "engine/kernels/cuda/hopper.h"

namespace dsl::cuda {

/// Set to "off" where mma.sync is to multiply BF16, and FP8 as BF16, for comparison.
inline constexpr const char* kWarpgroupsVariable = "DSL_WARPGROUPS";

inline bool uses_warpgroups(int device) { return uses_hopper_code(device, kWarpgroupsVariable); }

}  // namespace dsl::cuda
