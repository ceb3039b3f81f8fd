// The choice of experts, with the meaning of engine/kernels/routing.h; one block a row.
#pragma once

#include <algorithm>

#include "engine/kernels/cuda/scalars.cuh"
#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

inline constexpr float kExcluded = -__builtin_huge_valf();

/// Of a row; an expert has a thread of its own where there are no more.
inline constexpr unsigned kMaxChooseThreads = 256;

inline unsigned choose_threads(const RoutingConfig& config) {
  return std::min(kMaxChooseThreads, blocks_for(config.n_routed_experts, kWarpSize) * kWarpSize);
}

/// Ranks of experts, in fours that are read at once.
inline constexpr int kKeysAtOnce = 4;
struct alignas(kKeysAtOnce * sizeof(std::uint32_t)) KeyChunk {
  std::uint32_t keys[kKeysAtOnce];
};

inline std::size_t choose_shared_bytes(const RoutingConfig& config) {
  const std::int64_t num_keys = blocks_for(config.n_routed_experts, kKeysAtOnce) * kKeysAtOnce;
  return static_cast<std::size_t>(num_keys + 2 * config.n_routed_experts + config.n_group +
                                  2 * config.num_experts_per_tok) *
         4;
}

/// Of a row, in shared memory.
struct ExpertScores {
  int num_experts;
  int num_groups;
  int num_keys;  // a multiple of kKeysAtOnce
  int num_chosen;
  std::uint32_t* keys;   // the larger, the better; zeros behind the last expert
  float* scores;         // of the experts
  float* choice;         // scores by which they are chosen
  float* group_scores;   // of groups of experts
  std::int32_t* chosen;  // experts, the best first
  float* chosen_scores;  // ascending by expert

  __device__ explicit ExpertScores(const RoutingConfig& config)
      : num_experts(static_cast<int>(config.n_routed_experts)),
        num_groups(static_cast<int>(config.n_group)),
        num_keys((num_experts + kKeysAtOnce - 1) / kKeysAtOnce * kKeysAtOnce),
        num_chosen(static_cast<int>(config.num_experts_per_tok)),
        keys(reinterpret_cast<std::uint32_t*>(shared_bytes)),
        scores(reinterpret_cast<float*>(keys + num_keys)),
        choice(scores + num_experts),
        group_scores(choice + num_experts),
        chosen(reinterpret_cast<std::int32_t*>(group_scores + num_groups)),
        chosen_scores(reinterpret_cast<float*>(chosen + num_chosen)) {}

  /// Calls work(expert) for those of this thread.
  template <typename Work>
  __device__ void each_expert(const Work& work) const {
    for (int e = thread_index(); e < num_experts; e += static_cast<int>(blockDim.x)) {
      work(e);
    }
  }
};

/// In place, by a block. Every warp adds up all of them in the same order.
__device__ inline void softmax(const ExpertScores& row) {
  float* const values = row.scores;
  float largest = kExcluded;
  for (int i = lane_index(); i < row.num_experts; i += kWarpSize) {
    largest = fmaxf(largest, values[i]);
  }
  largest = warp_max(largest);
  __syncthreads();
  row.each_expert([&](int e) { values[e] = expf(values[e] - largest); });
  __syncthreads();
  float sum = 0;
  for (int i = lane_index(); i < row.num_experts; i += kWarpSize) sum += values[i];
  sum = warp_sum(sum);
  __syncthreads();
  row.each_expert([&](int e) { values[e] /= sum; });
}

/// The largest value, or the sum of the two largest, by a warp. NaN counts for nothing.
__device__ inline float group_score(const float* group, int size, TopkMethod method) {
  float first = kExcluded;
  float second = kExcluded;
  const auto add = [&](float value) {
    second = fmaxf(second, fminf(first, value));
    first = fmaxf(first, value);
  };
  for (int i = lane_index(); i < size; i += kWarpSize) {
    if (!isnan(group[i])) add(group[i]);
  }
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const float other_first = __shfl_xor_sync(kAllLanes, first, distance);
    const float other_second = __shfl_xor_sync(kAllLanes, second, distance);
    add(other_first);
    second = fmaxf(second, other_second);
  }
  return method == TopkMethod::kNoauxTc && size > 1 ? first + second : first;
}

/// A better one has a larger key; NaN counts as excluded.
__device__ inline std::uint32_t choice_rank_key(float value) {
  return ordered_bits(isnan(value) ? kExcluded : value);
}

/// Excludes the experts of all but the best groups, by a block.
__device__ inline void keep_best_groups(const ExpertScores& row, const RoutingConfig& config) {
  const int group_size = row.num_experts / row.num_groups;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  for (int g = warp_index(); g < row.num_groups; g += num_warps) {
    const float score = group_score(row.choice + g * group_size, group_size, config.topk_method);
    if (lane_index() == 0) row.group_scores[g] = score;
  }
  __syncthreads();
  row.each_expert([&](int e) {
    const int own = e / group_size;
    const std::uint32_t key = choice_rank_key(row.group_scores[own]);
    int num_better = 0;
    for (int g = 0; g < row.num_groups; ++g) {
      const std::uint32_t other = choice_rank_key(row.group_scores[g]);
      if (other > key || (other == key && g < own)) ++num_better;
    }
    if (num_better >= config.topk_group) row.choice[e] = kExcluded;
  });
}

/// How many experts are better than `own`; of equal ones the lower is.
__device__ inline int rank_of(const ExpertScores& row, int own) {
  const std::uint32_t key = row.keys[own];
  const int own_chunk = own / kKeysAtOnce * kKeysAtOnce;
  int rank = 0;
  for (int first = 0; first < row.num_keys; first += kKeysAtOnce) {
    const std::uint32_t least = first < own_chunk ? key : key + 1;
    const KeyChunk chunk = *reinterpret_cast<const KeyChunk*>(row.keys + first);
#pragma unroll
    for (int i = 0; i < kKeysAtOnce; ++i) rank += chunk.keys[i] >= least ? 1 : 0;
  }
  for (int e = own_chunk; e < own; ++e) rank += row.keys[e] == key ? 1 : 0;
  return rank;
}

/// V2 normalises or scales, V3 does both.
__device__ inline float weight_factor(const RoutingConfig& config, float sum) {
  if (!config.norm_topk_prob) return config.routed_scaling_factor;
  const float normaliser = 1.0f / (sum + 1e-20f);
  return config.scoring_func == ScoringFunc::kSoftmax ? normaliser
                                                      : normaliser * config.routed_scaling_factor;
}

/// The chosen in ascending order, by a block; the sum of their scores is taken in that order.
__device__ inline void store_chosen(const ExpertScores& row, const RoutingConfig& config,
                                    std::int32_t* ids, float* weights) {
  const auto each_chosen = [&](const auto& work) {
    for (int i = thread_index(); i < row.num_chosen; i += static_cast<int>(blockDim.x)) {
      work(i);
    }
  };
  each_chosen([&](int i) {
    const std::int32_t own = row.chosen[i];
    int place = 0;
    for (int j = 0; j < row.num_chosen; ++j) place += row.chosen[j] < own ? 1 : 0;
    ids[place] = own;
    row.chosen_scores[place] = row.scores[own];
  });
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < row.num_chosen; ++i) sum += row.chosen_scores[i];
  const float factor = weight_factor(config, sum);
  each_chosen([&](int i) { weights[i] = row.chosen_scores[i] * factor; });
}

/// Of an expert. A layer has few, and each is read once: their type is looked at as they are.
__device__ inline float bias_of(const VectorView& bias, int expert) {
  if (bias.dtype == DType::kF32) return static_cast<const float*>(bias.data)[expert];
  if (bias.dtype == DType::kBF16) return decode(static_cast<const BFloat16*>(bias.data)[expert]);
  return decode(static_cast<const Float16*>(bias.data)[expert]);
}

/// What experts of rows are chosen by.
struct RoutingCall {
  const float* logits;  // [rows, n_routed_experts] contiguous
  VectorView bias;      // may be empty
  RoutingConfig config;
  Routing routing;  // the result
};

/// The experts of a row, by a block, behind its turn.
__device__ inline void choose_of_row(const RoutingCall& call, std::int64_t row_index) {
  const RoutingConfig& config = call.config;
  const VectorView& bias = call.bias;
  const Routing& routing = call.routing;
  const ExpertScores row(config);
  const float* const row_logits = call.logits + row_index * row.num_experts;
  const bool is_softmax = config.scoring_func == ScoringFunc::kSoftmax;
  row.each_expert([&](int e) {
    row.scores[e] = is_softmax ? row_logits[e] : 1.0f / (1.0f + expf(-row_logits[e]));
  });
  if (is_softmax) {
    __syncthreads();
    softmax(row);
  }
  const bool is_biased = config.topk_method == TopkMethod::kNoauxTc && bias.size > 0;
  row.each_expert(
      [&](int e) { row.choice[e] = is_biased ? row.scores[e] + bias_of(bias, e) : row.scores[e]; });
  if (config.topk_method != TopkMethod::kGreedy && row.num_groups > 1) {
    __syncthreads();
    keep_best_groups(row, config);
  }
  row.each_expert([&](int e) { row.keys[e] = choice_rank_key(row.choice[e]); });
  if (threadIdx.x < static_cast<unsigned>(row.num_keys - row.num_experts)) {
    row.keys[row.num_experts + thread_index()] = 0;
  }
  __syncthreads();
  row.each_expert([&](int e) {
    const int rank = rank_of(row, e);
    if (rank < row.num_chosen) row.chosen[rank] = e;
  });
  __syncthreads();
  const std::int64_t first = row_index * routing.num_experts_per_tok;
  store_chosen(row, config, routing.expert_ids + first, routing.weights + first);
}

/// Grid: rows.
__global__ void __launch_bounds__(kMaxChooseThreads)
    choose_kernel(const __grid_constant__ RoutingCall call) {
  take_turn();
  choose_of_row(call, blockIdx.x);
}

}  // namespace dsl::cuda
