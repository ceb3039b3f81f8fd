// Routed experts on tensor cores: the rows of an expert are those of the pairs that chose it.
#pragma once

#include "engine/kernels/cuda/experts.cuh"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/gemm_tile.cuh"
#include "engine/kernels/cuda/turns.cuh"

namespace dsl::cuda {

/// The pairs of one expert.
struct ExpertGroup {
  static constexpr bool kIsKnown = false;  // it follows from the routing
  const ExpertWeights* expert = nullptr;
  const std::int32_t* pairs = nullptr;
  int only_pair = 0;  // where `pairs` is null
  int num_rows = 0;

  __device__ std::int32_t pair(int row) const { return pairs == nullptr ? only_pair : pairs[row]; }
};

/// The experts of a shard and who chose them.
struct ExpertChoice {
  const ExpertWeights* experts = nullptr;
  std::int64_t num_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  ExpertPairs pairs;  // unused with one row
  /// Of one row, whose experts are all different: each is a group, and nothing need be sorted.
  const std::int32_t* only_row = nullptr;
  std::int64_t first_expert = 0;

  /// Asks for where the weights of all experts lie, which is known before who chose them.
  __device__ void prefetch() const {
    constexpr int kLineBytes = 128;
    const unsigned block = blockIdx.x + gridDim.x * blockIdx.z;
    const std::int64_t at = (std::int64_t{block} * blockDim.x + threadIdx.x) * kLineBytes;
    if (blockIdx.y > 0 || at >= num_experts * std::int64_t{sizeof(ExpertWeights)}) return;
    prefetch_line(reinterpret_cast<const unsigned char*>(experts) + at);
  }
  __device__ ExpertGroup group(int index) const {
    if (only_row == nullptr) {
      const std::int32_t begin = pairs.begin[index];
      return {experts + index, pairs.pairs + begin, 0, pairs.begin[index + 1] - begin};
    }
    const std::int64_t expert = only_row[index] - first_expert;
    const bool is_here = expert >= 0 && expert < num_experts;
    return {is_here ? experts + expert : nullptr, nullptr, index, is_here ? 1 : 0};
  }
};

/// What both products of the experts have in common.
template <typename X>
struct ExpertRows {
  using Group = ExpertGroup;
  using Activation = X;

  InputRows<X> inputs;  // the step's rows, or a row for every pair
  ExpertChoice choice;
  Slices input;

  __device__ void prefetch_groups() const { choice.prefetch(); }
  __device__ Group group(int index) const { return choice.group(index); }
  __device__ const Slices& slices() const { return input; }
};

/// activated[p] = silu(gate_proj x) * up_proj x of pair p's row.
template <typename W, typename X>
struct ExpertUpGemm : ExpertRows<X> {
  using Weight = W;
  static constexpr int kSides = 2;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  Matrix activated;

  __device__ std::int64_t input_row(const ExpertGroup& group, int row) const {
    return group.pair(row) / this->choice.num_experts_per_tok;
  }
  __device__ const X* row(const ExpertGroup& group, int row) const {
    return this->inputs.row(input_row(group, row));
  }
  __device__ std::int64_t num_features() const { return activated.cols; }
  __device__ const WeightView& weight(const ExpertGroup& group, int side) const {
    return side == 0 ? group.expert->gate_proj : group.expert->up_proj;
  }
  __device__ void store(const ExpertGroup& group, int row, std::int64_t feature,
                        const float (&outputs)[2]) const {
    row_of<BFloat16>(activated, group.pair(row))[feature] =
        encode<BFloat16>(silu(outputs[0]) * outputs[1]);
  }
};

/// outputs[p] = down_proj x[p].
template <typename W, typename X>
struct ExpertDownGemm : ExpertRows<X> {
  using Weight = W;
  static constexpr int kSides = 1;
  static constexpr GemmSum kSum = GemmSum::kWhole;

  MatrixView<float> outputs;

  __device__ std::int64_t input_row(const ExpertGroup& group, int row) const {
    return group.pair(row);
  }
  __device__ const X* row(const ExpertGroup& group, int row) const {
    return this->inputs.row(input_row(group, row));
  }
  __device__ std::int64_t num_features() const { return outputs.cols; }
  __device__ const WeightView& weight(const ExpertGroup& group, int) const {
    return group.expert->down_proj;
  }
  __device__ void store(const ExpertGroup& group, int row, std::int64_t feature,
                        const float (&values)[1]) const {
    outputs.data[group.pair(row) * outputs.row_stride + feature] = values[0];
  }
};

}  // namespace dsl::cuda
