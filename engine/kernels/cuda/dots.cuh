// Dot products of some rows of activations with one row of weights, by one warp.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/cuda/weight_row.cuh"

namespace dsl::cuda {

/// Rows that share a read of the weights. A row's sum does not depend on it.
inline constexpr int kTileRows = 8;
/// Warps of a block, each with an output feature of its own.
inline constexpr int kTileWarps = 4;
inline constexpr unsigned kTileThreads = kTileWarps * kWarpSize;

/// sums[r] = sum over features [begin, end) of rows[r] * weight, on every lane. The order of
/// additions depends on `begin` and `end` alone: a lane adds up its groups in ascending order, and
/// the lanes are joined by a butterfly.
template <int kRows, typename X, typename W>
__device__ void warp_dots(const X* const (&rows)[kRows], const WeightRow<W>& weight,
                          std::int64_t begin, std::int64_t end, float (&sums)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) sums[r] = 0;
  for (std::int64_t first = begin + lane_index() * kGroupSize; first < end;
       first += kWarpSize * kGroupSize) {
    const int count = end - first < kGroupSize ? static_cast<int>(end - first) : kGroupSize;
    float w[kGroupSize];
    weight.load(first, count, w);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float x[kGroupSize];
      load_group(rows[r] + first, count, x);
#pragma unroll
      for (int i = 0; i < kGroupSize; ++i) {
        if (i < count) sums[r] = fmaf(x[i], w[i], sums[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) sums[r] = warp_sum(sums[r]);
}

}  // namespace dsl::cuda
