// Routed experts on tensor cores: the rows of an expert are those of the pairs that chose it.
#pragma once

#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"

namespace dsl::cuda {

/// The pairs of one expert.
struct ExpertGroup {
  const ExpertWeights* expert = nullptr;
  const std::int32_t* pairs = nullptr;
  int num_rows = 0;
};

__device__ inline ExpertGroup expert_group(const ExpertWeights* experts, const ExpertPairs& pairs,
                                           int expert) {
  const std::int32_t begin = pairs.begin[expert];
  return {experts + expert, pairs.pairs + begin, pairs.begin[expert + 1] - begin};
}

/// activated[p] = silu(gate_proj x) * up_proj x of pair p's row.
template <typename W>
struct ExpertUpGemm {
  using Weight = W;
  using Group = ExpertGroup;
  static constexpr int kSides = 2;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  Matrix x;
  const ExpertWeights* experts = nullptr;
  ExpertPairs pairs;
  std::int64_t num_experts_per_tok = 0;
  Slices input;
  Matrix activated;

  __device__ Group group(int expert) const { return expert_group(experts, pairs, expert); }
  __device__ const BFloat16* row(const Group& group, int row) const {
    return row_of<BFloat16>(x, group.pairs[row] / num_experts_per_tok);
  }
  __device__ std::int64_t num_features() const { return activated.cols; }
  __device__ const WeightView& weight(const Group& group, int side) const {
    return side == 0 ? group.expert->gate_proj : group.expert->up_proj;
  }
  __device__ const Slices& slices() const { return input; }
  __device__ void store(const Group& group, int row, std::int64_t feature,
                        const float (&outputs)[2]) const {
    row_of<BFloat16>(activated, group.pairs[row])[feature] =
        encode<BFloat16>(silu(outputs[0]) * outputs[1]);
  }
};

/// outputs[p] = down_proj activated[p].
template <typename W>
struct ExpertDownGemm {
  using Weight = W;
  using Group = ExpertGroup;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  Matrix activated;
  const ExpertWeights* experts = nullptr;
  ExpertPairs pairs;
  Slices input;
  MatrixView<float> outputs;

  __device__ Group group(int expert) const { return expert_group(experts, pairs, expert); }
  __device__ const BFloat16* row(const Group& group, int row) const {
    return row_of<BFloat16>(activated, group.pairs[row]);
  }
  __device__ std::int64_t num_features() const { return outputs.cols; }
  __device__ const WeightView& weight(const Group& group, int) const {
    return group.expert->down_proj;
  }
  __device__ const Slices& slices() const { return input; }
  __device__ void store(const Group& group, int row, std::int64_t feature,
                        const float (&values)[1]) const {
    outputs.data[group.pairs[row] * outputs.row_stride + feature] = values[0];
  }
};

}  // namespace dsl::cuda
