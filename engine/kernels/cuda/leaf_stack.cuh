// The tree of leaves of the sums that a thread holds.
#pragma once

#include "engine/kernels/cuda/launch.cuh"

namespace dsl::cuda {

/// A thread's outputs: kTiles x kRowTiles products of tensor cores.
template <int kTiles, int kRowTiles>
using TileSums = float[kTiles][kRowTiles][4];

/// Calls work(m, n, i) for the indices of TileSums.
template <int kTiles, int kRowTiles, typename Work>
__device__ void each_sum(const Work& work) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) work(m, n, i);
    }
  }
}

template <int kTiles, int kRowTiles>
__device__ void clear(TileSums<kTiles, kRowTiles>& sums) {
  each_sum<kTiles, kRowTiles>([&](int m, int n, int i) { sums[m][n][i] = 0; });
}

/// The leaves of a thread's outputs that are complete, joined as far as their tree allows: like the
/// bits of a counter of leaves. It lies in local memory, which is reached once a leaf.
template <int kTiles, int kRowTiles>
class LeafStack {
 public:
  __device__ void push(int leaf, TileSums<kTiles, kRowTiles>& total) {
    int level = 0;
    for (; (leaf >> level & 1) != 0; ++level) {
      each_sum<kTiles, kRowTiles>(
          [&](int m, int n, int i) { total[m][n][i] = levels_[level][m][n][i] + total[m][n][i]; });
    }
    each_sum<kTiles, kRowTiles>(
        [&](int m, int n, int i) { levels_[level][m][n][i] = total[m][n][i]; });
  }

 private:
  TileSums<kTiles, kRowTiles> levels_[4];
};

}  // namespace dsl::cuda
