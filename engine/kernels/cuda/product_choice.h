// By which tensor core instructions a device multiplies.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/ops_limits.h"

namespace dsl::cuda {

/// Before the device serves such calls: compares warpgroups with other kernels, and lets `launcher`
/// use them where a row has the same bits by either. Warns where that is not so and something is
/// slow. kInternal: products are wrong; the message says how to do without them.
Status choose_products(Launcher& launcher, const OpsLimits& limits);

}  // namespace dsl::cuda
