// Linear layers on tensor cores.
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/scalars.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// All rows of a call, which share their weights.
struct WholeGroup {
  int num_rows = 0;
};

/// What products of the rows of a matrix have in common.
struct MatrixRows {
  using Group = WholeGroup;

  Matrix x;  // BF16
  Slices input;

  __device__ Group group(int) const { return {static_cast<int>(x.rows)}; }
  __device__ const BFloat16* row(const Group&, int row) const {
    return row_of<const BFloat16>(x, row);
  }
  __device__ const Slices& slices() const { return input; }
};

/// out = x w^T, over one leaf or the tree of leaves.
template <typename W, typename Out, GemmSum kLeafSum>
struct LinearGemm : MatrixRows {
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = kLeafSum;

  WeightView w;
  Matrix out;

  __device__ std::int64_t num_features() const { return w.out_features; }
  __device__ const WeightView& weight(const Group&, int) const { return w; }
  __device__ void store(const Group&, int row, std::int64_t feature,
                        const float (&outputs)[1]) const {
    row_of<Out>(out, row)[feature] = encode<Out>(outputs[0]);
  }
};

/// activated = silu(x gate_proj^T) * x up_proj^T.
template <typename W>
struct GatedGemm : MatrixRows {
  using Weight = W;
  static constexpr int kSides = 2;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  WeightView gate_proj;
  WeightView up_proj;
  Matrix activated;

  __device__ std::int64_t num_features() const { return gate_proj.out_features; }
  __device__ const WeightView& weight(const Group&, int side) const {
    return side == 0 ? gate_proj : up_proj;
  }
  __device__ void store(const Group&, int row, std::int64_t feature,
                        const float (&outputs)[2]) const {
    row_of<BFloat16>(activated, row)[feature] = encode<BFloat16>(silu(outputs[0]) * outputs[1]);
  }
};

/// sums.leaf(i) += leaf i of x w^T.
template <typename W>
struct LeavesGemm : MatrixRows {
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kLeaves;

  WeightView w;
  LeafSums sums;

  __device__ std::int64_t num_features() const { return w.out_features; }
  __device__ const WeightView& weight(const Group&, int) const { return w; }
  __device__ void add_leaf(const Group&, int row, std::int64_t feature, int leaf, float sum) const {
    sums.data[(leaf * sums.rows + row) * sums.cols + feature] += sum;
  }
};

}  // namespace dsl::cuda
