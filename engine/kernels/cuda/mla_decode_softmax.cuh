// The exponentials of two warpgroups that share the heads of a block and halve the positions of a
// tile (mla_decode_warpgroups.cuh).
#pragma once

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/barriers.cuh"
#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/mla_decode_latents.cuh"
#include "engine/kernels/cuda/mla_softmax.cuh"
#include "engine/kernels/cuda/warpgroup_mma.cuh"

namespace dsl::cuda {

/// What a thread knows of its two heads, g and g + 8 of its warp's 16, and of 16 positions of each
/// tile, of which it has 2 t and 2 t + 1 of each group of 8.
template <typename Block>
class WarpgroupSoftmax {
 public:
  static constexpr int kOwnGroups = Block::kGroups / 2;

  __device__ WarpgroupSoftmax() : bases_{no_score(), no_score()} {}

  /// Takes this warpgroup's sums of a tile's scores. Left operands of the product with the values:
  /// the exponentials of the tile's first 16 positions, then of the others. `factors`: by which
  /// values up to now are multiplied. `count`: positions from the tile's first to the split's end.
  __device__ void take(Block& block, const float (&scores)[kDecodePositions / 2], float score_scale,
                       int count, std::uint32_t (&weights)[2][4], float (&factors)[2]) {
    float own[4 * kOwnGroups];
    join_scores(block, scores, own);
    const int t = lane_index() % 4;
#pragma unroll
    for (int i = 0; i < 4 * kOwnGroups; ++i) own[i] *= score_scale;
    if (count < kDecodePositions) {
#pragma unroll
      for (int i = 0; i < 4 * kOwnGroups; ++i) {
        const int position = (kOwnGroups * warpgroup() + i / 4) * 8 + 2 * t + i % 2;
        if (position >= count) own[i] = no_score();
      }
    }
    find_bases(block, own, factors);
    std::uint32_t pairs[4];
#pragma unroll
    for (int n = 0; n < kOwnGroups; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float left = power_of_two(own[4 * n + 2 * half] - bases_[half]);
        const float right = power_of_two(own[4 * n + 2 * half + 1] - bases_[half]);
        sums_[n][half] = fmaf(sums_[n][half], factors[half], left + right);
        pairs[2 * n + half] = round_pair(left, right);
      }
    }
    Wide& sent = block.swapped[warpgroup()][0][place()];
    sent = {{pairs[0], pairs[1], pairs[2], pairs[3]}};
    wait_for_other();
    const Wide got = block.swapped[1 - warpgroup()][0][place()];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      weights[0][i] = warpgroup() == 0 ? pairs[i] : got.words[i];
      weights[1][i] = warpgroup() == 0 ? got.words[i] : pairs[i];
    }
  }

  /// Nobody reads what was swapped any more.
  __device__ void store(Block& block, const SplitResults& results, std::int64_t first_result,
                        int num_heads) const {
#pragma unroll
    for (int n = 0; n < kOwnGroups; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float group_sum = quad_sum(sums_[n][half]);
        if (lane_index() % 4 == 0) {
          block.group_sums[kOwnGroups * warpgroup() + n][head(half)] = group_sum;
        }
      }
    }
    __syncthreads();
    if (warpgroup() != 0 || lane_index() % 4 != 0) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (head(half) >= num_heads) continue;
      float sum = block.group_sums[0][head(half)];
#pragma unroll
      for (int n = 1; n < Block::kGroups; ++n) sum += block.group_sums[n][head(half)];
      const std::int64_t result = first_result + head(half) * results.num_splits;
      results.bases[result] = bases_[half];
      results.sums[result] = sum;
    }
  }

  __device__ static int head(int half) {
    return warp_index() % 4 * 16 + lane_index() / 4 + 8 * half;
  }
  __device__ static int warpgroup() { return warp_index() / 4; }

 private:
  __device__ static int place() { return thread_index() % kWarpgroupSize; }
  /// Two warps swap: those with the same heads.
  __device__ static void wait_for_other() { wait_at_barrier<2 * kWarpSize>(1 + warp_index() % 4); }

  __device__ static void join_scores(Block& block, const float (&scores)[kDecodePositions / 2],
                                     float (&own)[4 * kOwnGroups]) {
    const bool is_first = warpgroup() == 0;
#pragma unroll
    for (int n = 0; n < kOwnGroups; ++n) {
      Wide sent;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float low = scores[4 * n + i];
        const float high = scores[4 * (kOwnGroups + n) + i];
        own[4 * n + i] = is_first ? low : high;
        sent.words[i] = __float_as_uint(is_first ? high : low);
      }
      block.swapped[warpgroup()][n][place()] = sent;
    }
    wait_for_other();
#pragma unroll
    for (int n = 0; n < kOwnGroups; ++n) {
      const Wide got = block.swapped[1 - warpgroup()][n][place()];
#pragma unroll
      for (int i = 0; i < 4; ++i) own[4 * n + i] += __uint_as_float(got.words[i]);
    }
  }

  __device__ void find_bases(Block& block, const float (&own)[4 * kOwnGroups],
                             float (&factors)[2]) {
    float largest[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest[half] = fmaxf(own[2 * half], own[2 * half + 1]);
#pragma unroll
      for (int n = 1; n < kOwnGroups; ++n) {
        largest[half] =
            fmaxf(largest[half], fmaxf(own[4 * n + 2 * half], own[4 * n + 2 * half + 1]));
      }
      largest[half] = quad_max(largest[half]);
      if (lane_index() % 4 == 0) block.largest[warpgroup()][head(half)] = largest[half];
    }
    wait_for_other();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float others = block.largest[1 - warpgroup()][head(half)];
      const float before = bases_[half];
      bases_[half] = next_base(before, fmaxf(largest[half], others));
      factors[half] = base_factor(before, bases_[half]);
    }
  }

  float bases_[2];
  float sums_[kOwnGroups][2] = {};  // of exponentials
};

}  // namespace dsl::cuda
