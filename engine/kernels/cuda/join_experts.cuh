// What routed experts made of a row, added to the leaves that others left.
#pragma once

#include "engine/kernels/cuda/leaves.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"

namespace dsl::cuda {

inline constexpr int kJoinThreads = 128;
/// Columns of a thread, which share what it finds out about the experts; kJoinThreads apart.
inline constexpr int kJoinCols = 2;
/// Experts of a row that are read before the first is added.
inline constexpr int kSlotsAtOnce = 8;

inline dim3 join_grid(std::int64_t cols, std::int64_t rows) {
  return {blocks_for(cols, kJoinThreads * kJoinCols), static_cast<unsigned>(rows), 1};
}

/// kSlotsAtOnce experts that a row chose. All lanes of a warp hold the same.
struct ExpertSlots {
  unsigned of_leaf[kNumLeaves];  // a bit for each that belongs there
  float weights[kSlotsAtOnce];

  /// Those from `first_slot` on. All 32 lanes must call.
  __device__ ExpertSlots(const Routing& routing, std::int64_t row, int first_slot,
                         std::int64_t first_expert, const LeafBounds& bounds) {
    const int slot = first_slot + lane_index();
    const bool is_slot = lane_index() < kSlotsAtOnce && slot < routing.num_experts_per_tok;
    const std::int64_t at = row * routing.num_experts_per_tok + slot;
    // Local; those of other shards are in no leaf.
    const auto expert =
        is_slot ? routing.expert_ids[at] - static_cast<std::int32_t>(first_expert) : -1;
    const float weight = is_slot ? routing.weights[at] : 0;
#pragma unroll
    for (int leaf = 0; leaf < kNumLeaves; ++leaf) {
      const bool is_in_leaf = leaf < bounds.num_leaves &&
                              expert >= static_cast<std::int32_t>(bounds.begin[leaf]) &&
                              expert < static_cast<std::int32_t>(bounds.begin[leaf + 1]);
      of_leaf[leaf] = __ballot_sync(kAllLanes, is_in_leaf);
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) weights[i] = __shfl_sync(kAllLanes, weight, i);
  }

  __device__ bool is_here(int slot) const {
    unsigned here = 0;
#pragma unroll
    for (int leaf = 0; leaf < kNumLeaves; ++leaf) here |= of_leaf[leaf];
    return (here >> slot & 1) != 0;
  }
};

/// Adds a row's experts to their leaves in ascending order (a row's expert ids are sorted), and
/// joins the leaves. Grid: join_grid().
__global__ void __launch_bounds__(kJoinThreads)
    join_experts_kernel(Routing routing, std::int64_t first_expert,
                        const __grid_constant__ LeafBounds bounds, MatrixView<float> outputs,
                        LeafSums sums, MatrixView<float> out) {
  take_turn();
  const std::int64_t row = blockIdx.y;
  const std::int64_t first_col =
      std::int64_t{blockIdx.x} * (kJoinThreads * kJoinCols) + thread_index();
  float leaves[kJoinCols][kNumLeaves] = {};
#pragma unroll
  for (int leaf = 0; leaf < kNumLeaves; ++leaf) {
#pragma unroll
    for (int j = 0; j < kJoinCols; ++j) {
      const std::int64_t col = first_col + j * kJoinThreads;
      if (leaf >= bounds.num_leaves || col >= out.cols) continue;
      leaves[j][leaf] = sums.data[(leaf * sums.rows + row) * sums.cols + col];
    }
  }
  const auto num_slots = static_cast<int>(routing.num_experts_per_tok);
  for (int begin = 0; begin < num_slots; begin += kSlotsAtOnce) {
    const ExpertSlots slots(routing, row, begin, first_expert, bounds);
    float values[kSlotsAtOnce][kJoinCols];
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      const float* of_slot = outputs.data + (row * num_slots + begin + i) * outputs.row_stride;
#pragma unroll
      for (int j = 0; j < kJoinCols; ++j) {
        const std::int64_t col = first_col + j * kJoinThreads;
        if (slots.is_here(i) && col < out.cols) values[i][j] = of_slot[col];
      }
    }
#pragma unroll
    for (int leaf = 0; leaf < kNumLeaves; ++leaf) {
#pragma unroll
      for (int i = 0; i < kSlotsAtOnce; ++i) {
        if ((slots.of_leaf[leaf] >> i & 1) == 0) continue;
#pragma unroll
        for (int j = 0; j < kJoinCols; ++j) {
          leaves[j][leaf] = fmaf(slots.weights[i], values[i][j], leaves[j][leaf]);
        }
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kJoinCols; ++j) {
    const std::int64_t col = first_col + j * kJoinThreads;
    if (col < out.cols) {
      out.data[row * out.row_stride + col] = join_tree(leaves[j], bounds.num_leaves);
    }
  }
}

}  // namespace dsl::cuda
