#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/linear.h"

namespace dsl::cuda {

void multiply(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
              const Matrix& out) {
  with_activation(x.dtype, [&](auto a) {
    with_weight(w.dtype, [&](auto e) {
      with_activation(out.dtype, [&](auto o) {
        const auto kernel = x.rows == 1
                                ? linear_kernel<1, decltype(a), decltype(e), decltype(o)>
                                : linear_kernel<kTileRows, decltype(a), decltype(e), decltype(o)>;
        const int tile_rows = x.rows == 1 ? 1 : kTileRows;
        launcher.run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, tile_rows)),
                      kTileThreads},
                     kernel, x, w, leaves, out);
      });
    });
  });
}

void add_leaves(Launcher& launcher, const Matrix& x, const WeightView& w, const LeafBounds& leaves,
                const LeafSums& sums) {
  with_activation(x.dtype, [&](auto a) {
    with_weight(w.dtype, [&](auto e) {
      launcher.run({dim3(blocks_for(w.out_features, kTileWarps), blocks_for(x.rows, kTileRows)),
                    kTileThreads},
                   linear_leaves_kernel<kTileRows, decltype(a), decltype(e)>, x, w, leaves, sums);
    });
  });
}

void join_leaves(Launcher& launcher, const LeafSums& sums, MatrixView<float> out) {
  launcher.run({dim3(blocks_for(sums.rows * sums.cols, kElementThreads)), kElementThreads},
               join_leaves_kernel, sums, out);
}

}  // namespace dsl::cuda
