// Rows of activations as a matrix product reads them: stored in BF16, or quantised.
#pragma once

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/quantised_rows.h"

namespace dsl::cuda {

/// Rows of element type X.
template <typename X>
struct InputRows;

template <>
struct InputRows<BFloat16> {
  Matrix x;

  __device__ const BFloat16* row(std::int64_t row) const { return row_of<const BFloat16>(x, row); }
};

template <>
struct InputRows<Float8E4M3> {
  QuantisedRows x;

  __device__ const Float8E4M3* row(std::int64_t row) const { return x.codes + row * x.row_stride; }
  /// Where the scale of a slice of the row is.
  __device__ const float* scale(std::int64_t row, int slice) const {
    return x.scales + slice * x.scale_stride + row;
  }
};

/// The scales of a slice of those of 8 * kRowTiles rows whose sums a lane holds. BF16 has none.
template <typename X, int kRowTiles>
struct LaneScales {
  template <typename Gemm>
  __device__ LaneScales(const Gemm&, const typename Gemm::Group&, int) {}
  template <typename Gemm>
  __device__ void load(const Gemm&, int) {}
  /// What the sum of weights of this scale and row 8n + 2t + i is multiplied by.
  __device__ float times(float weight_scale, int, int) const { return weight_scale; }
};

template <int kRowTiles>
struct LaneScales<Float8E4M3, kRowTiles> {
  /// Rows begin at `first_row`; for those behind the last, whose sums are not stored, it stands.
  template <typename Gemm>
  __device__ LaneScales(const Gemm& gemm, const typename Gemm::Group& group, int first_row) {
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = first_row + n * 8 + 2 * (lane_index() % 4) + i;
        const int last = group.num_rows - 1;
        rows_[n][i] = static_cast<int>(gemm.input_row(group, row < last ? row : last));
      }
    }
  }
  template <typename Gemm>
  __device__ void load(const Gemm& gemm, int slice) {
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) scales_[n][i] = *gemm.inputs.scale(rows_[n][i], slice);
    }
  }
  __device__ float times(float weight_scale, int n, int i) const {
    return weight_scale * scales_[n][i];
  }

 private:
  int rows_[kRowTiles][2];
  float scales_[kRowTiles][2];
};

}  // namespace dsl::cuda
