// Kernels of few rows that have blocks for two purposes: what an expert layer's routing waits for
// goes on beside its shared experts, which saves the kernels and turns of their own.
#pragma once

#include "engine/kernels/cuda/routing.cuh"
#include "engine/kernels/cuda/skinny_gemm.cuh"

namespace dsl::cuda {

/// Grid: blocks of `first`, then those of `second`, of kSkinnyFeatures each; tiles of rows.
template <typename First, typename Second, int kRowTiles>
__global__ void __launch_bounds__(kSkinnyThreads, (kSkinnyBlocks<First::kSides, kRowTiles>))
    skinny_both_kernel(const __grid_constant__ First first, const __grid_constant__ Second second,
                       unsigned first_blocks) {
  static_assert(First::kSides >= Second::kSides);
  let_next_start();
  if (blockIdx.x < first_blocks) {
    multiply_skinny<First, kRowTiles>(first, {std::int64_t{blockIdx.x} * kSkinnyFeatures, 0});
  } else {
    multiply_skinny<Second, kRowTiles>(
        second, {std::int64_t{blockIdx.x - first_blocks} * kSkinnyFeatures, 0});
  }
}

/// Grid: blocks that choose the experts of a row each, which take longest, then those of `gemm`;
/// tiles of rows.
template <typename Gemm, int kRowTiles>
__global__ void __launch_bounds__(kSkinnyThreads, (kSkinnyBlocks<Gemm::kSides, kRowTiles>))
    choose_and_skinny_kernel(const __grid_constant__ RoutingCall call,
                             const __grid_constant__ Gemm gemm, unsigned choose_blocks) {
  let_next_start();
  if (blockIdx.x >= choose_blocks) {
    return multiply_skinny<Gemm, kRowTiles>(
        gemm, {std::int64_t{blockIdx.x - choose_blocks} * kSkinnyFeatures, 0});
  }
  wait_for_turn();
  const std::int64_t row = std::int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
  if (row < call.routing.rows) choose_of_row(call, row);
}

}  // namespace dsl::cuda
