// Linear layers on the device.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/leaves.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// out[m, n] = the tree over the leaves' sums of x[m, k] * w[n, k]. One leaf: the whole sum.
void multiply(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
              const Matrix& out);

/// multiply() by two layers, in one kernel. False, with nothing done, where that gains nothing or
/// tensor cores do not take both alike.
bool multiply_pair(Launcher& launcher, const Matrix& x, const WeightView& w, const Matrix& out,
                   const WeightView& other_w, const Matrix& other_out);

/// activated = silu(gate_proj x) * up_proj x, rounded once. False, with nothing done, where tensor
/// cores do not take it.
bool multiply_gated(Launcher& launcher, const Matrix& x, const WeightView& gate_proj,
                    const WeightView& up_proj, const Matrix& activated);

/// sums.leaf(i)[m, n] = leaf i's sum.
void multiply_leaves(Launcher& launcher, const Matrix& x, const WeightView& w,
                     const LeafBounds& leaves, const LeafSums& sums);

}  // namespace dsl::cuda
