// What engine/kernels/cuda/mma.cuh asks of the hardware, for the emulated device.
#pragma once

#include <cstdint>

namespace dsl::test {

/// Sums as fused_sum() (fused_sum.h), to nearest.
void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
void load_matrices(std::uint32_t (&matrices)[4], const void* shared_row, bool transposed);
/// Copied when it is waited for, so that who does not wait reads what stood there before.
void copy_async(void* shared, const void* global, int bytes);
void copy_float_async(float* shared, const float* global);
void commit_copies();
void wait_for_copies(int groups);
std::uint32_t round_pair(float first, float second);
std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b);

}  // namespace dsl::test
