// Routed experts on the device.
#pragma once

#include <span>

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// Ops::routed_experts; `experts_copy` keeps the device's copy of the experts' addresses.
void join_routed_experts(Launcher& launcher, DeviceCopy<ExpertWeights>& experts_copy,
                         const Matrix& x, const Routing& routing,
                         std::span<const ExpertWeights> experts, const LeafSplit& split,
                         const LeafSums& sums, const MatrixView<float>& out);

}  // namespace dsl::cuda
