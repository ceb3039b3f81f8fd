// Whether a device multiplies FP8 as the kernels of warpgroups expect.
#pragma once

#include "engine/kernels/cuda/launcher.h"

namespace dsl::cuda {

/// Multiplies small matrices whose products are exact in any order, with tiles of every size,
/// before a model is served: operands that a device reads otherwise than this code lays them out
/// would give plausible numbers. Nothing to do where launcher.has_warpgroups() is false. kInternal
/// names the first output that is wrong, and the way around.
Status check_warpgroups(Launcher& launcher);

}  // namespace dsl::cuda
