// Where the leaves of a split sum begin, and their tree.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/launch.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// The leaves of a LeafSplit in local features or experts.
struct LeafBounds {
  int num_leaves = 1;
  std::int64_t begin[kNumLeaves + 1] = {};
};

inline LeafBounds leaf_bounds(const LeafSplit& split) {
  LeafBounds bounds;
  bounds.num_leaves = split.num_leaves();
  for (int i = 0; i <= bounds.num_leaves; ++i) bounds.begin[i] = split.begin(i);
  return bounds;
}

/// One leaf: all features.
inline LeafBounds single_leaf(std::int64_t size) {
  LeafBounds bounds;
  bounds.begin[1] = size;
  return bounds;
}

/// `sums` from a row on; `rows` stays the distance of leaves.
inline LeafSums leaf_rows_from(const LeafSums& sums, std::int64_t first) {
  return {sums.data + first * sums.cols, sums.num_leaves, sums.rows, sums.cols};
}

/// Balanced binary tree over the first `count` (a power of two) values.
__device__ inline float join_tree(float (&values)[kNumLeaves], int count) {
#pragma unroll
  for (int width = kNumLeaves; width > 1; width /= 2) {
    if (width > count) continue;
#pragma unroll
    for (int i = 0; i < width / 2; ++i) values[i] = values[2 * i] + values[2 * i + 1];
  }
  return values[0];
}

}  // namespace dsl::cuda
