// Linear layers: whole sums, subtree sums and leaf sums.
#pragma once

#include "engine/kernels/cuda/dots.cuh"
#include "engine/kernels/cuda/leaves.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// Rows [first, first + kRows) of x; those behind the last are that of the last, and nobody stores
/// their sums.
template <int kRows, typename X>
__device__ void tile_rows(const Matrix& x, std::int64_t first, const X* (&rows)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t row = first + r < x.rows ? first + r : x.rows - 1;
    rows[r] = static_cast<const X*>(x.data) + row * x.row_stride;
  }
}

/// out = the tree over the leaves' dot products. Grid: features / kTileWarps, rows / kRows.
template <int kRows, typename X, typename W, typename Out>
__global__ void linear_kernel(Matrix x, WeightView w, LeafBounds leaves, Matrix out) {
  take_turn();
  const std::int64_t feature = std::int64_t{blockIdx.x} * kTileWarps + warp_index();
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  if (feature >= w.out_features) return;
  const X* rows[kRows];
  tile_rows(x, first_row, rows);
  const WeightRow<W> weight(w, feature);
  float partial[kRows][kNumLeaves];
  for (int i = 0; i < leaves.num_leaves; ++i) {
    float sums[kRows];
    warp_dots(rows, weight, leaves.begin[i], leaves.begin[i + 1], sums);
#pragma unroll
    for (int r = 0; r < kRows; ++r) partial[r][i] = sums[r];
  }
  if (lane_index() != 0) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (first_row + r >= x.rows) continue;
    static_cast<Out*>(out.data)[(first_row + r) * out.row_stride + feature] =
        encode<Out>(join_tree(partial[r], leaves.num_leaves));
  }
}

/// sums.leaf(i) = leaf i's dot products. Grid: features / kTileWarps, rows / kRows.
template <int kRows, typename X, typename W>
__global__ void linear_leaves_kernel(Matrix x, WeightView w, LeafBounds leaves, LeafSums sums) {
  take_turn();
  const std::int64_t feature = std::int64_t{blockIdx.x} * kTileWarps + warp_index();
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  if (feature >= w.out_features) return;
  const X* rows[kRows];
  tile_rows(x, first_row, rows);
  const WeightRow<W> weight(w, feature);
  for (int i = 0; i < leaves.num_leaves; ++i) {
    float dots[kRows];
    warp_dots(rows, weight, leaves.begin[i], leaves.begin[i + 1], dots);
    if (lane_index() != 0) continue;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first_row + r >= x.rows) continue;
      sums.data[(i * sums.rows + first_row + r) * sums.cols + feature] = dots[r];
    }
  }
}

}  // namespace dsl::cuda
