// The exponentials of a row's scores, whose tiles come one after the other. They are powers of two
// of scores that were multiplied by log2(e), which hardware computes at once.
//
// Scores are lowered by a base before: the largest of the first tile, and of a later one where that
// leaves the base too far behind. Only then what was added up before is multiplied by a factor. A
// split's sums are of powers up to 2^kBaseLag, and joining splits takes any base.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "engine/kernels/cuda/mla_tiles.cuh"

namespace dsl::cuda {

/// How much larger than the base scores may be. Powers are rounded to BF16, which has the same
/// number of digits for all.
inline constexpr float kBaseLag = 8.0f;

/// 2^exponent within two units of the last place; 0 where that is not a normal number.
__device__ inline float power_of_two(float exponent) {
#ifdef __CUDACC__
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
  return power;
#else
  return std::exp2(exponent);
#endif
}

/// `largest`: of the tile's scores.
__device__ inline float next_base(float base, float largest) {
  return largest > base + kBaseLag ? largest : base;
}

/// What was added up with the base `before` is multiplied by. One changes nothing.
__device__ inline float base_factor(float before, float after) {
  return before == after ? 1.0f : power_of_two(before - after);
}

/// Whether one of the warp's factors is not one. All lanes call.
__device__ inline bool changes_anything(const float (&factors)[2]) {
  return __ballot_sync(kAllLanes, factors[0] != 1.0f || factors[1] != 1.0f) != 0;
}

/// values *= factors, of products of warpgroups, where that changes anything. All lanes call.
template <int kValues>
__device__ void multiply_values(float (&values)[kValues], const float (&factors)[2]) {
  if (!changes_anything(factors)) return;
#pragma unroll
  for (int i = 0; i < kValues; ++i) values[i] *= factors[i / 2 % 2];
}

}  // namespace dsl::cuda
