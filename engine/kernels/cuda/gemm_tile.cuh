// What the kernels on tensor cores ask of a matrix product, a `Gemm`:
//
//   Weight                 element type of the weights: BFloat16 or Float8E4M3
//   Activation             that of the activations: BFloat16 or, beside FP8 weights, Float8E4M3
//   kSides                 weights that share the activations: 1, or 2 for gate and up
//   kSum                   what becomes of the leaves
//   group(z)               one of gridDim.z groups of rows that share weights, e.g. of an expert: a
//                          Group with num_rows; kIsKnown if kernels before this one have no part
//                          in it, so that weights may be read before their end
//   prefetch_groups()      asks for what groups consist of, before the turn, if kIsKnown is not set
//   row(group, r)          contiguous activations
//   inputs, input_row(group, r)  InputRows<Float8E4M3> and which of them; for Float8E4M3 alone
//   weight(group, side)    a WeightView
//   num_features()         of the output
//   slices()               of its input features
//   store(group, r, feature, outputs)  takes the output of every side; not for GemmSum::kLeaves
//   store_leaf(group, r, feature, leaf, sum)  the same of a leaf; for GemmSum::kLeaves alone
#pragma once

#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

/// Rows of activations in one product of the tensor cores.
inline constexpr int kTileCols = 8;
inline constexpr float kNotANumber = __builtin_nanf("");

enum class GemmSum {
  kWhole,  // there is one leaf
  kTree,   // they are joined
  kLeaves  // each is an output
};

}  // namespace dsl::cuda
