// What others reach on this device: copies of CUDA itself and products of cuBLASLt.
#pragma once

#include <string>
#include <vector>

#include "tests/bench/gpu/bench_sizes.h"
#include "tests/bench/gpu/case_processes.h"

namespace dsl::bench {

/// Measured in the same run; 0 where they were not.
struct DeviceLimits {
  double bytes_per_second = 0;  // of a copy: bytes read and bytes written
  double bf16_flops_per_second = 0;
  double fp8_flops_per_second = 0;

  /// Takes the rate that one of limit_cases() found.
  void take(const Measurement& limit);
};

/// 0 where a limit or what it limits is not known.
struct FractionsOfLimits {
  double of_bandwidth = 0;
  double of_matrix_rate = 0;  // of FP8 where both operands are
};
FractionsOfLimits fractions_of(const DeviceLimits& limits, const Measurement& found);

/// The first device of CUDA, in words; kNotFound without a usable one.
Result<std::string> describe_device();

/// Each result is verified before it is timed.
std::vector<BenchCase> limit_cases(const BenchSizes& sizes);

/// A product of three matrices of 8192 x 8192 through the fastest of the kernels that cuBLASLt
/// proposes, BF16 or FP8 (e4m3) with float32 sums, or FP8 with shorter ones if these are faster,
/// and BF16 results. kNotFound where this build has no cuBLASLt.
Result<Measurement> measure_cublas(const Effort& effort, bool is_fp8);

}  // namespace dsl::bench
