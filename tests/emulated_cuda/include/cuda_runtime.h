// CUDA C++ as C++: built-in variables, intrinsics and the launch of kernels. Dynamic shared memory
// only: __shared__ variables of a fixed size would be each fiber's own.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __shared__
#define __grid_constant__
#define __launch_bounds__(...)

/// Where the running thread stands.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace dsl::test {

/// Runs `thread`, the kernel with its arguments, for every thread of the grid, block after block;
/// or records that. If it may start beside the kernel before, the device's memory stays closed
/// until the first thread takes its turn, and every thread must.
cudaError_t start_grid(const void* kernel, const cudaLaunchConfig_t& config,
                       std::function<void()> thread);
/// This thread waits until the kernel before has ended.
void take_turn();
/// It may read the device's memory before.
void open_memory();
/// All threads of the block arrive before any goes on.
void wait_for_block();
/// So do `count` of them, whole warps, at the barrier of this number, 1 to 15.
void wait_at_barrier(int barrier, int count);
/// The word that another lane of the warp passed to the same call. All 32 lanes must call.
std::uint32_t exchange_in_warp(std::uint32_t word, int source_lane);
int lane_of_warp();

}  // namespace dsl::test

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  // By value: a recorded launch runs when the caller's arguments are gone.
  return dsl::test::start_grid(
      reinterpret_cast<const void*>(kernel), *config,
      [kernel, parameters = std::tuple<std::decay_t<Parameters>...>(
                   std::forward<Arguments>(arguments)...)] { std::apply(kernel, parameters); });
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

inline void __syncthreads() { dsl::test::wait_for_block(); }
inline void __syncwarp() { dsl::test::exchange_in_warp(0, 0); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  static_assert(sizeof(T) % sizeof(std::uint32_t) == 0);
  auto words = std::bit_cast<std::array<std::uint32_t, sizeof(T) / sizeof(std::uint32_t)>>(value);
  for (std::uint32_t& word : words) {
    word = dsl::test::exchange_in_warp(word, dsl::test::lane_of_warp() ^ lane_mask);
  }
  return std::bit_cast<T>(words);
}
template <typename T>
T __shfl_sync(unsigned, T value, int source_lane) {
  static_assert(sizeof(T) == sizeof(std::uint32_t));
  return std::bit_cast<T>(
      dsl::test::exchange_in_warp(std::bit_cast<std::uint32_t>(value), source_lane % 32));
}
inline unsigned __ballot_sync(unsigned, bool predicate) {
  unsigned votes = predicate ? 1u << dsl::test::lane_of_warp() : 0;
  for (int distance = 16; distance > 0; distance /= 2) {
    votes |= __shfl_xor_sync(0xffffffffu, votes, distance);
  }
  return votes;
}
/// Each nibble of `selector` chooses a byte of b and a together, a's first.
inline std::uint32_t __byte_perm(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | std::uint64_t{b} << 32;
  std::uint32_t chosen = 0;
  for (int i = 0; i < 4; ++i) {
    chosen |= static_cast<std::uint32_t>(bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  }
  return chosen;
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline float __uint_as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t __float_as_uint(float value) { return std::bit_cast<std::uint32_t>(value); }
using std::isnan;
