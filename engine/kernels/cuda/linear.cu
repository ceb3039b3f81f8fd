#include <algorithm>

#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/quantise.h"

namespace dsl::cuda {
namespace {

/// Calls work(first row, rows, space) for parts of x whose quantised rows fit into scratch, where
/// they take bytes_of(rows).
template <typename BytesOf, typename Work>
void for_quantised_parts(Launcher& launcher, const Matrix& x, std::int64_t row_bytes,
                         const BytesOf& bytes_of, const Work& work) {
  if (x.rows == 0) return;
  const std::int64_t max_rows = launcher.count_of_pass(x.rows, row_bytes);
  auto* scratch = launcher.scratch<std::byte>(bytes_of(max_rows));
  if (scratch == nullptr) return;
  for (std::int64_t first = 0; first < x.rows; first += max_rows) {
    ScratchSpace space(scratch);
    work(first, x.rows_from(first, std::min(max_rows, x.rows - first)), space);
  }
}

/// Calls work(a weight's element, first row, rows) with x as tensor cores multiply it with `w`.
template <typename Work>
void with_tensor_core_inputs(Launcher& launcher, const Matrix& x, const WeightView& w,
                             const LeafBounds& leaves, const Work& work) {
  const Slices slices = slices_of(w, leaves);
  if (!w.quantised_inputs) {
    return with_tensor_core_weight(w.dtype, [&](auto e) {
      work(e, std::int64_t{0}, MatrixRows<BFloat16>{{x}, x.rows, slices});
    });
  }
  const auto bytes_of = [&](std::int64_t rows) {
    return code_bytes(rows, x.cols, slices.num_slices());
  };
  for_quantised_parts(launcher, x, code_row_bytes(x.cols, slices.num_slices()), bytes_of,
                      [&](std::int64_t first, const Matrix& part, ScratchSpace& space) {
                        work(
                            Float8E4M3{}, first,
                            MatrixRows<Float8E4M3>{
                                {quantise_rows(launcher, part, slices, space)}, part.rows, slices});
                      });
}

/// Calls work(first row, rows) with x as other kernels multiply it with `w`.
template <typename Work>
void with_inputs(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
                 const Work& work) {
  if (!w.quantised_inputs) return work(std::int64_t{0}, x);
  const Slices slices = slices_of(w, leaves);
  for_quantised_parts(
      launcher, x, x.cols * std::int64_t{sizeof(float)},
      [&](std::int64_t rows) { return float_bytes(rows, x.cols); },
      [&](std::int64_t first, const Matrix& part, ScratchSpace& space) {
        work(first, quantised_floats(launcher, part, slices, space));
      });
}

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
