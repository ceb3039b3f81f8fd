#include "tests/bench/gpu/device_limits.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/runtime/cuda/cuda_status.h"
#include "tests/bench/gpu/device_tensors.h"
#include "tests/bench/gpu/recorded_calls.h"

namespace dsl::bench {
namespace {

using cuda::cuda_status;

/// Of the copy's end, which is compared with the source.
constexpr std::int64_t kComparedBytes = std::int64_t{4} << 20;

Result<Measurement> measure_copy(const BenchSizes& sizes) {
  DSL_ASSIGN(const Device device, cuda::open_cuda_device(0));
  const std::int64_t bytes = sizes.copy_bytes;
  DSL_ASSIGN(const auto from, DeviceTensor::random(*device.memory, bytes / 4, DType::kF32, {}));
  DSL_ASSIGN(const auto to, DeviceTensor::make(*device.memory, bytes));
  const auto copy = [&] {
    return device.memory->start_copy(to.data(), from.data(), static_cast<std::size_t>(bytes));
  };
  DSL_TRY(copy());
  const std::int64_t compared = std::min(bytes, kComparedBytes);
  DSL_ASSIGN(const auto source, from.read(from.data() + bytes - compared, compared));
  DSL_ASSIGN(const auto copied, to.read(to.data() + bytes - compared, compared));
  if (copied != source) return fail(ErrorCode::kInternal, "", "a copy differs from its source");
  DSL_ASSIGN(const double seconds,
             called_seconds(sizes.effort, copy, [&] { return device.ops->finish(); }));
  return Measurement{.seconds = seconds, .bytes = 2.0 * static_cast<double>(bytes)};
}

}  // namespace

Result<std::string> describe_device() {
  cudaDeviceProp properties{};
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  std::size_t free = 0;
  std::size_t total = 0;
  int driver = 0;
  int runtime = 0;
  DSL_TRY(cuda_status(cudaSetDevice(0), "using CUDA device 0"));
  DSL_TRY(cuda_status(cudaGetDeviceProperties(&properties, 0), "asking for CUDA device 0"));
  for (const auto& [value, attribute] :
       {std::pair{&major, cudaDevAttrComputeCapabilityMajor},
        std::pair{&minor, cudaDevAttrComputeCapabilityMinor},
        std::pair{&multiprocessors, cudaDevAttrMultiProcessorCount}}) {
    DSL_TRY(cuda_status(cudaDeviceGetAttribute(value, attribute, 0), "asking for CUDA device 0"));
  }
  DSL_TRY(cuda_status(cudaMemGetInfo(&free, &total), "asking for the memory of CUDA device 0"));
  DSL_TRY(cuda_status(cudaDriverGetVersion(&driver), "asking for the driver"));
  DSL_TRY(cuda_status(cudaRuntimeGetVersion(&runtime), "asking for the runtime"));
  return fmt::format(
      "{}, sm_{}{}, {} multiprocessors, {} MiB, {} free, CUDA {}.{} of driver, {}.{} built",
      properties.name, major, minor, multiprocessors, total >> 20, free >> 20, driver / 1000,
      driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

void DeviceLimits::take(const Measurement& limit) {
  if (limit.flops > 0) {
    (limit.is_fp8 ? fp8_flops_per_second : bf16_flops_per_second) = limit.flops / limit.seconds;
  } else {
    bytes_per_second = limit.bytes / limit.seconds;
  }
}

FractionsOfLimits fractions_of(const DeviceLimits& limits, const Measurement& found) {
  const auto fraction = [&](double work, double limit) {
    return limit > 0 ? work / limit / found.seconds : 0;
  };
  return {fraction(found.bytes, limits.bytes_per_second),
          fraction(found.flops,
                   found.is_fp8 ? limits.fp8_flops_per_second : limits.bf16_flops_per_second)};
}

std::vector<BenchCase> limit_cases(const BenchSizes& sizes) {
  return {{"copy", sizes.max_case_seconds, [sizes] { return measure_copy(sizes); }},
          {"products in BF16", sizes.max_case_seconds,
           [sizes] { return measure_cublas(sizes.effort, false); }},
          {"products in FP8", sizes.max_case_seconds,
           [sizes] { return measure_cublas(sizes.effort, true); }}};
}

}  // namespace dsl::bench
