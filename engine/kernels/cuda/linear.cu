#include <algorithm>

#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/linear_inputs.cuh"

namespace dsl::cuda {
namespace {

void multiply_on_tensor_cores(Launcher& launcher, const Matrix& x, const WeightView& w,
                              const LeafBounds& leaves, const Matrix& out) {
  with_tensor_core_inputs(
      launcher, x, w, leaves, [&]<typename X>(auto e, std::int64_t first, const MatrixRows<X>& in) {
        using W = decltype(e);
        const Matrix part = out.rows_from(first, in.num_rows);
        const GemmRows rows{1, in.num_rows, in.num_rows};
        if (leaves.num_leaves > 1) {
          DSL_CHECK(out.dtype == DType::kF32, "a tree of leaves in {}", name_of(out.dtype));
          return run_gemm(launcher, LinearGemm<W, X, float, GemmSum::kTree>{in, w, part},
                          w.out_features, rows);
        }
        with_activation(out.dtype, [&](auto o) {
          run_gemm(launcher, LinearGemm<W, X, decltype(o), GemmSum::kWhole>{in, w, part},
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
  with_inputs(launcher, x, w, leaves, [&](std::int64_t first, const Matrix& in) {
    const Matrix part = out.rows_from(first, in.rows);
    with_activation(in.dtype, [&](auto a) {
      with_weight(w.dtype, [&](auto e) {
        with_activation(out.dtype, [&](auto o) {
          const auto kernel = in.rows == 1
                                  ? linear_kernel<1, decltype(a), decltype(e), decltype(o)>
                                  : linear_kernel<kTileRows, decltype(a), decltype(e), decltype(o)>;
          const int tile_rows = in.rows == 1 ? 1 : kTileRows;
          launcher.run(
              {dim3(blocks_for(w.out_features, kTileWarps), blocks_for(in.rows, tile_rows)),
               kTileThreads},
              kernel, in, w, leaves, part);
        });
      });
    });
  });
}

bool multiply_pair(Launcher& launcher, const Matrix& x, const WeightView& w, const Matrix& out,
                   const WeightView& other_w, const Matrix& other_out) {
  const LeafBounds leaves = single_leaf(x.cols);
  const auto has_few = [&](const WeightView& layer) {
    return is_tensor_core_gemm(x.dtype, layer, leaves) && !layer.quantised_inputs &&
           has_few_rows<PairGemm<BFloat16>>(layer.out_features, {1, x.rows, x.rows});
  };
  if (!is_read_alike(w, other_w) || out.dtype != DType::kBF16 || other_out.dtype != DType::kBF16 ||
      !has_few(w) || !has_few(other_w)) {
    return false;
  }
  with_tensor_core_weight(w.dtype, [&](auto e) {
    const PairGemm<decltype(e)> gemm{
        {{x}, x.rows, slices_of(w, leaves)}, {w, other_w}, {out, other_out}, kSkinnyFeatures};
    run_few_rows(launcher, gemm, std::max(w.out_features, other_w.out_features),
                 {2, x.rows, x.rows});
  });
  return true;
}

}  // namespace dsl::cuda
