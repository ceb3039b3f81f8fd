// Keys and values of cached positions on tensor cores.
#pragma once

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/linear_gemm.cuh"

namespace dsl::cuda {

/// expanded[position] = kv_b latent, for the positions of one sequence: its rows are where the
/// block table says.
template <typename W>
struct ExpandGemm {
  using Weight = W;
  using Activation = BFloat16;
  using Group = WholeGroup;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  PagedLatents latents;
  std::int64_t num_positions = 0;
  WeightView kv_b;
  Slices input;
  BFloat16* expanded = nullptr;  // [num_positions, kv_b.out_features]

  __device__ Group group(int) const { return {static_cast<int>(num_positions)}; }
  __device__ const BFloat16* row(const Group&, int row) const {
    return latents.at<BFloat16>(0, row);
  }
  __device__ std::int64_t num_features() const { return kv_b.out_features; }
  __device__ const WeightView& weight(const Group&, int) const { return kv_b; }
  __device__ const Slices& slices() const { return input; }
  __device__ void store(const Group&, int row, std::int64_t feature,
                        const float (&outputs)[1]) const {
    expanded[row * kv_b.out_features + feature] = encode<BFloat16>(outputs[0]);
  }
};

}  // namespace dsl::cuda
