// What engine/kernels/cuda/warpgroup_mma.cuh asks of the hardware, for the emulated device.
#pragma once

#include <cstdint>

namespace dsl::test {

/// Of dynamic shared memory.
std::uint32_t shared_address(const void* shared);
/// Multiplied when it is waited for, so that who does not wait reads NaN, and who writes to an
/// operand too early spoils it. Sums in ascending order of features, each product and sum fused.
void multiply_float8(float* sums, int num_rows, std::uint64_t a, std::uint64_t b, bool adds);
/// The same of BF16, whose sums are fused_sum() (fused_sum.h).
void multiply_bfloat16(float* sums, int num_rows, std::uint64_t a, std::uint64_t b, bool adds);
/// The same with the left operand in registers, as those of mma_m16n8k16().
void multiply_bfloat16(float* sums, int num_rows, const std::uint32_t (&a)[4], std::uint64_t b,
                       bool adds);
/// The same with a right operand [16, num_cols] whose columns lie side by side. Adds.
void multiply_columns(float* sums, int num_cols, const std::uint32_t (&a)[4], std::uint64_t b);
void commit_products();
/// Products that were not committed are a mistake.
void wait_for_products();

}  // namespace dsl::test
