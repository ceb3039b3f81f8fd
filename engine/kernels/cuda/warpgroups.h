// Whether products of warpgroups (warpgroup_mma.cuh) may be started.
#pragma once

#include <cstdlib>
#include <string_view>

#include "engine/kernels/cuda/hopper.h"

namespace dsl::cuda {

/// Set to "off" where FP8 is to be multiplied as BF16, for comparison.
inline constexpr const char* kWarpgroupsVariable = "DSL_WARPGROUPS";

inline bool uses_warpgroups(int device) {
  const char* const wish = std::getenv(kWarpgroupsVariable);
  return (wish == nullptr || std::string_view(wish) != "off") && has_hopper_code(device);
}

}  // namespace dsl::cuda
