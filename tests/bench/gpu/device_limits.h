// What others reach on this device: copies of CUDA itself and products of cuBLASLt.
#pragma once

#include "tests/bench/gpu/bench_report.h"
#include "tests/bench/gpu/bench_sizes.h"

namespace dsl::bench {

/// The first device of CUDA, in words; kNotFound without a usable one.
Result<std::string> describe_device();

/// Measures the current device; each result is verified first.
Result<DeviceLimits> measure_limits(const BenchSizes& sizes);

/// FLOP/s of a product of three matrices of 8192 x 8192 through cuBLASLt, BF16 or FP8 (e4m3) with
/// float32 sums and BF16 results. kNotFound where this build has no cuBLASLt.
Result<double> cublas_flops_per_second(const Effort& effort, bool is_fp8);

}  // namespace dsl::bench
