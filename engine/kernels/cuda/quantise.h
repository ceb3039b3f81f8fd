// Quantised inputs on the device: what linears of FP8 weights multiply where the weights say so.
#pragma once

#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/quantised_rows.h"
#include "engine/kernels/cuda/scratch_space.h"
#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

/// Codes and scales of x in `space`, which has code_bytes() left: for tensor cores.
QuantisedRows quantise_rows(Launcher& launcher, const Matrix& x, const Slices& slices,
                            ScratchSpace& space);

/// The same values as float32 in `space`, which has float_bytes() left: for other kernels.
Matrix quantised_floats(Launcher& launcher, const Matrix& x, const Slices& slices,
                        ScratchSpace& space);

}  // namespace dsl::cuda
