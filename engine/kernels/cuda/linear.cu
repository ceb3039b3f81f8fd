#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"

namespace dsl::cuda {
namespace {

void multiply_on_tensor_cores(Launcher& launcher, const Matrix& x, const WeightView& w,
                              const LeafBounds& leaves, const Matrix& out) {
  const Slices slices = slices_of(w, leaves);
  const GemmRows rows{1, x.rows, x.rows};
  with_tensor_core_weight(w.dtype, [&](auto e) {
    using W = decltype(e);
    if (leaves.num_leaves > 1) {
      DSL_CHECK(out.dtype == DType::kF32, "a tree of leaves in {}", name_of(out.dtype));
      return run_gemm(launcher, LinearGemm<W, float, GemmSum::kTree>{{x, slices}, w, out},
                      w.out_features, rows);
    }
    with_activation(out.dtype, [&](auto o) {
      run_gemm(launcher, LinearGemm<W, decltype(o), GemmSum::kWhole>{{x, slices}, w, out},
               w.out_features, rows);
    });
  });
}

}  // namespace

void multiply(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
              const Matrix& out) {
  if (is_tensor_core_gemm(x.dtype, w, leaves)) {
    return multiply_on_tensor_cores(launcher, x, w, leaves, out);
  }
  with_activation(x.dtype, [&](auto a) {
    with_weight(w.dtype, [&](auto e) {
      with_activation(out.dtype, [&](auto o) {
        const auto kernel = x.rows == 1
                                ? linear_kernel<1, decltype(a), decltype(e), decltype(o)>
                                : linear_kernel<kTileRows, decltype(a), decltype(e), decltype(o)>;
        const int tile_rows = x.rows == 1 ? 1 : kTileRows;
        launcher.run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, tile_rows)),
                      kTileThreads},
                     kernel, x, w, leaves, out);
      });
    });
  });
}

bool multiply_gated(Launcher& launcher, const Matrix& x, const WeightView& gate_proj,
                    const WeightView& up_proj, const Matrix& activated) {
  const LeafBounds leaves = single_leaf(x.cols);
  const bool is_alike =
      gate_proj.dtype == up_proj.dtype && gate_proj.scales.first_col == up_proj.scales.first_col;
  if (!is_alike || activated.dtype != DType::kBF16 ||
      !is_tensor_core_gemm(x.dtype, gate_proj, leaves) ||
      !is_tensor_core_gemm(x.dtype, up_proj, leaves)) {
    return false;
  }
  with_tensor_core_weight(gate_proj.dtype, [&](auto w) {
    const GatedGemm<decltype(w)> gemm{
        {x, slices_of(gate_proj, leaves)}, gate_proj, up_proj, activated};
    run_gemm(launcher, gemm, activated.cols, {1, x.rows, x.rows});
  });
  return true;
}

void add_leaves(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
                const LeafSums& sums) {
  if (is_tensor_core_gemm(x.dtype, w, leaves)) {
    with_tensor_core_weight(w.dtype, [&](auto e) {
      run_gemm(launcher, LeavesGemm<decltype(e)>{{x, slices_of(w, leaves)}, w, sums},
               w.out_features, {1, x.rows, x.rows});
    });
    return;
  }
  with_activation(x.dtype, [&](auto a) {
    with_weight(w.dtype, [&](auto e) {
      launcher.run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, kTileRows)),
                    kTileThreads},
                   linear_leaves_kernel<kTileRows, decltype(a), decltype(e)>, x, w, leaves, sums);
    });
  });
}

void join_leaves(Launcher& launcher, const LeafSums& sums, MatrixView<float> out) {
  launcher.run({dim3(blocks_for(sums.rows * sums.cols, kElementThreads)), kElementThreads},
               join_leaves_kernel, sums, out);
}

}  // namespace dsl::cuda
