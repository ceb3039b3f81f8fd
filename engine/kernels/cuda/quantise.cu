#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/quantise.cuh"
#include "engine/kernels/cuda/quantise.h"

namespace dsl::cuda {
namespace {

LaunchShape quantise_shape(const Matrix& x, const Slices& slices) {
  return {dim3(static_cast<unsigned>(x.rows), blocks_for(slices.num_slices(), kQuantiseSlices)),
          kQuantiseThreads};
}

}  // namespace

QuantisedRows quantise_rows(Launcher& launcher, const Matrix& x, const Slices& slices,
                            ScratchSpace& space) {
  const std::int64_t row_stride = code_stride(x.cols);
  const std::int64_t scale_stride = dsl::cuda::scale_stride(x.rows);
  auto* codes = space.take<Float8E4M3>(x.rows * row_stride);
  auto* scales = space.take<float>(slices.num_slices() * scale_stride);
  const QuantisedRows rows{codes, row_stride, scales, scale_stride};
  with_activation(x.dtype, [&](auto a) {
    launcher.run(quantise_shape(x, slices), quantise_kernel<decltype(a)>, x, slices, rows, codes,
                 scales);
  });
  return rows;
}

Matrix quantised_floats(Launcher& launcher, const Matrix& x, const Slices& slices,
                        ScratchSpace& space) {
  const Matrix out{space.take<float>(x.rows * x.cols), DType::kF32, x.rows, x.cols, x.cols};
  with_activation(x.dtype, [&](auto a) {
    launcher.run(quantise_shape(x, slices), quantised_floats_kernel<decltype(a)>, x, slices, out);
  });
  return out;
}

}  // namespace dsl::cuda
