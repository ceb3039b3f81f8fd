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
void commit_products();
/// Products that were not committed are a mistake.
void wait_for_products();

}  // namespace dsl::test
