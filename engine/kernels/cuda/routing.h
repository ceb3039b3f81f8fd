// Routing on the device.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// Ops::route().
void route_rows(Launcher& launcher, const Matrix& x, const WeightView& gate, const VectorView& bias,
                const RoutingConfig& config, const Routing& routing);

/// Ops::route_beside() of few rows, by two kernels. False, with nothing done, where rows are many
/// or tensor cores do not take the weights as they are.
bool route_few_beside(Launcher& launcher, const Matrix& x, const WeightView& gate,
                      const VectorView& bias, const RoutingConfig& config, const Routing& routing,
                      const SharedExperts& shared);

}  // namespace dsl::cuda
