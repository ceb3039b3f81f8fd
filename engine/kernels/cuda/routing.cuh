// The choice of experts, with the meaning of engine/kernels/routing.h; one warp a row.
#pragma once

#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

inline constexpr float kExcluded = -__builtin_huge_valf();

struct Best {
  float value = kExcluded;
  int index = -1;
};

/// The larger value, of equal ones the lower index. NaN counts as excluded, so that all lanes
/// agree.
__device__ inline Best better(const Best& a, const Best& b) {
  if (a.index < 0) return b;
  if (b.index < 0 || a.value > b.value) return a;
  if (b.value > a.value) return b;
  return a.index < b.index ? a : b;
}

__device__ inline Best warp_best(Best best) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const Best other{__shfl_xor_sync(kAllLanes, best.value, distance),
                     __shfl_xor_sync(kAllLanes, best.index, distance)};
    best = better(best, other);
  }
  return best;
}

/// Marks the `count` largest of `size` values. All in shared memory.
__device__ inline void mark_largest(const float* values, int size, std::int64_t count,
                                    int* chosen) {
  for (int i = lane_index(); i < size; i += kWarpSize) chosen[i] = 0;
  __syncwarp();
  for (std::int64_t k = 0; k < count; ++k) {
    Best best;
    for (int i = lane_index(); i < size; i += kWarpSize) {
      if (chosen[i]) continue;
      best = better(best, {isnan(values[i]) ? kExcluded : values[i], i});
    }
    best = warp_best(best);
    if (lane_index() == 0) chosen[best.index] = 1;
    __syncwarp();
  }
}

__device__ inline float group_score(const float* group, int size, TopkMethod method) {
  float first = kExcluded;
  float second = kExcluded;
  for (int i = 0; i < size; ++i) {
    if (group[i] > first) {
      second = first;
      first = group[i];
    } else if (group[i] > second) {
      second = group[i];
    }
  }
  return method == TopkMethod::kNoauxTc && size > 1 ? first + second : first;
}

/// V2 normalises or scales, V3 does both.
__device__ inline float weight_factor(const RoutingConfig& config, float sum) {
  if (!config.norm_topk_prob) return config.routed_scaling_factor;
  const float normaliser = 1.0f / (sum + 1e-20f);
  return config.scoring_func == ScoringFunc::kSoftmax ? normaliser
                                                      : normaliser * config.routed_scaling_factor;
}

__device__ inline void softmax(float* values, int size) {
  float largest = kExcluded;
  for (int i = lane_index(); i < size; i += kWarpSize) largest = fmaxf(largest, values[i]);
  largest = warp_max(largest);
  float sum = 0;
  for (int i = lane_index(); i < size; i += kWarpSize) {
    values[i] = expf(values[i] - largest);
    sum += values[i];
  }
  sum = warp_sum(sum);
  for (int i = lane_index(); i < size; i += kWarpSize) values[i] /= sum;
}

inline std::size_t choose_shared_bytes(const RoutingConfig& config) {
  return static_cast<std::size_t>(3 * config.n_routed_experts + 2 * config.n_group) * 4;
}

/// `logits` [rows, n_routed_experts] contiguous; `bias` may be null. Grid: rows; one warp each.
__global__ void choose_kernel(const float* logits, const float* bias, RoutingConfig config,
                              Routing routing) {
  take_turn();
  const int num_experts = static_cast<int>(config.n_routed_experts);
  const int num_groups = static_cast<int>(config.n_group);
  float* scores = reinterpret_cast<float*>(shared_bytes);
  float* choice = scores + num_experts;
  int* chosen = reinterpret_cast<int*>(choice + num_experts);
  float* group_scores = reinterpret_cast<float*>(chosen + num_experts);
  int* kept = reinterpret_cast<int*>(group_scores + num_groups);

  const bool is_softmax = config.scoring_func == ScoringFunc::kSoftmax;
  for (int e = lane_index(); e < num_experts; e += kWarpSize) {
    const float logit = logits[std::int64_t{blockIdx.x} * num_experts + e];
    scores[e] = is_softmax ? logit : 1.0f / (1.0f + expf(-logit));
  }
  __syncwarp();
  if (is_softmax) softmax(scores, num_experts);
  const bool is_biased = config.topk_method == TopkMethod::kNoauxTc && bias != nullptr;
  for (int e = lane_index(); e < num_experts; e += kWarpSize) {
    choice[e] = is_biased ? scores[e] + bias[e] : scores[e];
  }
  __syncwarp();
  if (config.topk_method != TopkMethod::kGreedy && num_groups > 1) {
    const int group_size = num_experts / num_groups;
    for (int g = lane_index(); g < num_groups; g += kWarpSize) {
      group_scores[g] = group_score(choice + g * group_size, group_size, config.topk_method);
    }
    __syncwarp();
    mark_largest(group_scores, num_groups, config.topk_group, kept);
    for (int e = lane_index(); e < num_experts; e += kWarpSize) {
      if (!kept[e / group_size]) choice[e] = kExcluded;
    }
    __syncwarp();
  }
  mark_largest(choice, num_experts, config.num_experts_per_tok, chosen);

  // Ascending by expert; the sum is that of one thread, in this order.
  std::int32_t* ids = routing.expert_ids + blockIdx.x * routing.num_experts_per_tok;
  float* weights = routing.weights + blockIdx.x * routing.num_experts_per_tok;
  if (lane_index() != 0) return;
  std::int64_t count = 0;
  float sum = 0;
  for (int e = 0; e < num_experts; ++e) {
    if (!chosen[e]) continue;
    ids[count] = e;
    weights[count++] = scores[e];
    sum += scores[e];
  }
  const float factor = weight_factor(config, sum);
  for (std::int64_t i = 0; i < count; ++i) weights[i] *= factor;
}

}  // namespace dsl::cuda
