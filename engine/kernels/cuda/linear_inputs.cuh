// The rows of a linear layer as kernels multiply them: quantised where the weight asks for it, and
// then in as many parts as scratch demands.
#pragma once

#include <algorithm>

#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/quantise.h"

namespace dsl::cuda {

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

}  // namespace dsl::cuda
