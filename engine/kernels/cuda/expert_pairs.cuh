// Pairs of a row and an expert that it chose, grouped by expert.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/turns.cuh"
#include "engine/kernels/cuda/warp.cuh"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

extern __shared__ unsigned char shared_bytes[];

/// Pair p is row p / num_experts_per_tok and its slot p % num_experts_per_tok.
struct ExpertPairs {
  std::int32_t* begin = nullptr;  // [experts + 1]: where an expert's pairs begin in `pairs`
  std::int32_t* pairs = nullptr;  // grouped by expert, each group in ascending order
};

/// Warps that look for the pairs of an expert, each in a part of all, and ids that a lane asks for
/// before it looks at the first.
inline constexpr int kPairWarps = 32;
inline constexpr int kIdsAtOnce = 8;

template <int kWarps>
struct PairCounts {
  int before[kWarps];  // of experts of this shard before this one
  int own[kWarps];
};

/// Calls work(p, id) for the pairs p of a warp's part, in ascending order, with all lanes: those
/// behind its end have the id -1.
template <int kWarps, typename Work>
__device__ void each_pair(const Routing& routing, const Work& work) {
  constexpr int kBatch = kIdsAtOnce * kWarpSize;
  const auto num_pairs = static_cast<int>(routing.rows * routing.num_experts_per_tok);
  const int part = (num_pairs + kWarps * kBatch - 1) / (kWarps * kBatch) * kBatch;
  const int begin = warp_index() * part;
  const int end = begin + part < num_pairs ? begin + part : num_pairs;
  for (int first = begin; first < end; first += kBatch) {
    int ids[kIdsAtOnce];
#pragma unroll
    for (int i = 0; i < kIdsAtOnce; ++i) {
      const int p = first + i * kWarpSize + lane_index();
      ids[i] = p < end ? routing.expert_ids[p] : -1;
    }
#pragma unroll
    for (int i = 0; i < kIdsAtOnce; ++i) work(first + i * kWarpSize + lane_index(), ids[i]);
  }
}

/// A block for an expert of this shard: finds its pairs, and how many pairs are of experts before
/// it. Grid: experts.
template <int kWarps>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    group_pairs_kernel(Routing routing, std::int64_t first_expert, ExpertPairs out) {
  take_turn();
  auto& counts = *reinterpret_cast<PairCounts<kWarps>*>(shared_bytes);
  const auto expert = static_cast<int>(first_expert) + static_cast<int>(blockIdx.x);
  int num_before = 0;
  int num_own = 0;
  each_pair<kWarps>(routing, [&](int, int id) {
    num_before += __popc(__ballot_sync(kAllLanes, id >= first_expert && id < expert));
    num_own += __popc(__ballot_sync(kAllLanes, id == expert));
  });
  if (lane_index() == 0) {
    counts.before[warp_index()] = num_before;
    counts.own[warp_index()] = num_own;
  }
  __syncthreads();
  int all_before = 0;
  int all_own = 0;
  int next = 0;  // where this warp's pairs begin among the expert's
  for (int warp = 0; warp < kWarps; ++warp) {
    if (warp == warp_index()) next = all_own;
    all_before += counts.before[warp];
    all_own += counts.own[warp];
  }
  if (threadIdx.x == 0) {
    if (blockIdx.x == 0) out.begin[0] = 0;
    out.begin[blockIdx.x + 1] = all_before + all_own;
  }
  if (num_own == 0) return;
  next += all_before;
  each_pair<kWarps>(routing, [&](int p, int id) {
    const unsigned own = __ballot_sync(kAllLanes, id == expert);
    const unsigned lanes_below = (1u << lane_index()) - 1;
    if (id == expert) out.pairs[next + __popc(own & lanes_below)] = p;
    next += __popc(own);
  });
}

}  // namespace dsl::cuda
