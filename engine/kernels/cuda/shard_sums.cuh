// The sum of what the shards of a group have sent.
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/launch.cuh"
#include "engine/kernels/cuda/leaves.cuh"

namespace dsl::cuda {

inline constexpr unsigned kShardSumThreads = 256;

/// Values of every shard; this one's own need not have been sent. Non-owning.
struct ShardParts {
  const float* received = nullptr;  // [shards, stride]
  std::int64_t stride = 0;
  const float* own = nullptr;
  int shard = 0;
  int shards = 1;
};

/// out[i] = the balanced tree over the shards' values i; out may be parts.own. One thread an
/// element.
__global__ void sum_shards_kernel(ShardParts parts, std::int64_t count, float* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float values[kNumLeaves];
  for (int shard = 0; shard < parts.shards; ++shard) {
    values[shard] = shard == parts.shard ? parts.own[i] : parts.received[shard * parts.stride + i];
  }
  out[i] = join_tree(values, parts.shards);
}

}  // namespace dsl::cuda
