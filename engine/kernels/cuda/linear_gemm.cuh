// Linear layers on tensor cores.
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/scalars.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// All rows of a call, which share their weights.
struct WholeGroup {
  static constexpr bool kIsKnown = true;
  int num_rows = 0;
};

/// What products of the rows of a matrix have in common.
template <typename X>
struct MatrixRows {
  using Group = WholeGroup;
  using Activation = X;

  InputRows<X> inputs;
  std::int64_t num_rows = 0;
  Slices input;

  __device__ Group group(int) const { return {static_cast<int>(num_rows)}; }
  __device__ std::int64_t input_row(const Group&, int row) const { return row; }
  __device__ const X* row(const Group&, int row) const { return inputs.row(row); }
  __device__ const Slices& slices() const { return input; }
};

/// out = x w^T, over one leaf or the tree of leaves.
template <typename W, typename X, typename Out, GemmSum kLeafSum>
struct LinearGemm : MatrixRows<X> {
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = kLeafSum;

  WeightView w;
  Matrix out;

  __device__ std::int64_t num_features() const { return w.out_features; }
  __device__ const WeightView& weight(const WholeGroup&, int) const { return w; }
  __device__ void store(const WholeGroup&, int row, std::int64_t feature,
                        const float (&outputs)[1]) const {
    row_of<Out>(out, row)[feature] = encode<Out>(outputs[0]);
  }
};

/// One of the layers of PairGemm.
struct LayerGroup : WholeGroup {
  int layer = 0;
};

/// outs[i] = x weights[i]^T, in BF16. A layer is a group of rows.
template <typename W>
struct PairGemm : MatrixRows<BFloat16> {
  using Group = LayerGroup;
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  WeightView weights[2];
  Matrix outs[2];
  int block_features = 0;  // of a block

  /// Without rows where the layer has no features for the block.
  __device__ Group group(int layer) const {
    const bool is_there = std::int64_t{blockIdx.x} * block_features < weights[layer].out_features;
    return {{is_there ? static_cast<int>(num_rows) : 0}, layer};
  }
  __device__ std::int64_t num_features() const {
    const std::int64_t first = weights[0].out_features;
    return first > weights[1].out_features ? first : weights[1].out_features;
  }
  __device__ const WeightView& weight(const Group& group, int) const {
    return weights[group.layer];
  }
  __device__ void store(const Group& group, int row, std::int64_t feature,
                        const float (&outputs)[1]) const {
    if (feature >= weights[group.layer].out_features) return;
    row_of<BFloat16>(outs[group.layer], row)[feature] = encode<BFloat16>(outputs[0]);
  }
};

/// activated = silu(x gate_proj^T) * x up_proj^T.
template <typename W, typename X>
struct GatedGemm : MatrixRows<X> {
  using Weight = W;
  static constexpr int kSides = 2;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  WeightView gate_proj;
  WeightView up_proj;
  Matrix activated;

  __device__ std::int64_t num_features() const { return gate_proj.out_features; }
  __device__ const WeightView& weight(const WholeGroup&, int side) const {
    return side == 0 ? gate_proj : up_proj;
  }
  __device__ void store(const WholeGroup&, int row, std::int64_t feature,
                        const float (&outputs)[2]) const {
    row_of<BFloat16>(activated, row)[feature] = encode<BFloat16>(silu(outputs[0]) * outputs[1]);
  }
};

/// sums.leaf(i) = leaf i of x w^T.
template <typename W, typename X>
struct LeavesGemm : MatrixRows<X> {
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kLeaves;

  WeightView w;
  LeafSums sums;

  __device__ std::int64_t num_features() const { return w.out_features; }
  __device__ const WeightView& weight(const WholeGroup&, int) const { return w; }
  __device__ void store_leaf(const WholeGroup&, int row, std::int64_t feature, int leaf,
                             float sum) const {
    sums.data[(leaf * sums.rows + row) * sums.cols + feature] = sum;
  }
};

}  // namespace dsl::cuda
