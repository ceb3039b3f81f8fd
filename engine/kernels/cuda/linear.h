// Linear layers on the device.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/leaves.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// out[m, n] = the tree over the leaves' sums of x[m, k] * w[n, k]. One leaf: the whole sum.
void multiply(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
              const Matrix& out);

/// sums.leaf(i)[m, n] += leaf i's sum.
void add_leaves(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
                const LeafSums& sums);

void join_leaves(Launcher& launcher, const LeafSums& sums, MatrixView<float> out);

}  // namespace dsl::cuda
