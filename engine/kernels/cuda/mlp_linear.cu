// The products of MLPs, apart from linear.cu, as both compile for minutes.
#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/linear_inputs.cuh"

namespace dsl::cuda {

bool multiply_gated(Launcher& launcher, const Matrix& x, const WeightView& gate_proj,
                    const WeightView& up_proj, const Matrix& activated) {
  const LeafBounds leaves = single_leaf(x.cols);
  if (!is_read_alike(gate_proj, up_proj) || activated.dtype != DType::kBF16 ||
      !is_tensor_core_gemm(x.dtype, gate_proj, leaves) ||
      !is_tensor_core_gemm(x.dtype, up_proj, leaves)) {
    return false;
  }
  with_tensor_core_inputs(launcher, x, gate_proj, leaves,
                          [&]<typename X>(auto e, std::int64_t first, const MatrixRows<X>& in) {
                            const GatedGemm<decltype(e), X> gemm{
                                in, gate_proj, up_proj, activated.rows_from(first, in.num_rows)};
                            run_gemm(launcher, gemm, activated.cols, {1, in.num_rows, in.num_rows});
                          });
  return true;
}

void multiply_leaves(Launcher& launcher, const Matrix& x, const WeightView& w,
                     const LeafBounds& leaves, const LeafSums& sums) {
  if (is_tensor_core_gemm(x.dtype, w, leaves)) {
    return with_tensor_core_inputs(
        launcher, x, w, leaves,
        [&]<typename X>(auto e, std::int64_t first, const MatrixRows<X>& in) {
          run_gemm(launcher, LeavesGemm<decltype(e), X>{in, w, leaf_rows_from(sums, first)},
                   w.out_features, {1, in.num_rows, in.num_rows});
        });
  }
  with_inputs(launcher, x, w, leaves, [&](std::int64_t first, const Matrix& in) {
    with_activation(in.dtype, [&](auto a) {
      with_weight(w.dtype, [&](auto e) {
        launcher.run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(in.rows, kTileRows)),
                      kTileThreads},
                     linear_leaves_kernel<kTileRows, decltype(a), decltype(e)>, in, w, leaves,
                     leaf_rows_from(sums, first));
      });
    });
  });
}

}  // namespace dsl::cuda
