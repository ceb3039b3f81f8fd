#include "tests/bench/gpu/device_limits.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "engine/runtime/cuda/cuda_status.h"
#include "engine/runtime/cuda/device_buffer.h"
#include "tests/bench/gpu/device_fill.h"

namespace dsl::bench {
namespace {

using cuda::cuda_status;

constexpr int kPasses = 9;
constexpr std::int64_t kCopyBytes = std::int64_t{2} << 30;

/// Owns an event.
class Event {
 public:
  static Result<Event> make() {
    cudaEvent_t event = nullptr;
    DSL_TRY(cuda_status(cudaEventCreate(&event), "making an event"));
    return Event(event);
  }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  cudaEvent_t get() const { return event_; }

 private:
  explicit Event(cudaEvent_t event) : event_(event) {}
  cudaEvent_t event_;
};

Result<double> copy_bytes_per_second() {
  cuda::DeviceBuffer from;
  cuda::DeviceBuffer to;
  DSL_TRY(from.reserve(kCopyBytes, "copies"));
  DSL_TRY(to.reserve(kCopyBytes, "copies"));
  DSL_TRY(fill_random(from.data(), kCopyBytes / 4, DType::kF32, {}));
  DSL_ASSIGN(const double seconds, event_seconds([&] {
               return cuda_status(
                   cudaMemcpyAsync(to.data(), from.data(), kCopyBytes, cudaMemcpyDeviceToDevice),
                   "copying on the device");
             }));
  std::array<std::vector<float>, 2> ends;
  for (int i = 0; i < 2; ++i) {
    std::vector<float>& values = ends[static_cast<std::size_t>(i)];
    values.resize(1 << 20);
    const void* const data = i == 0 ? from.data() : to.data();
    const auto bytes = values.size() * sizeof(float);
    DSL_TRY(cuda_status(
        cudaMemcpy(values.data(), static_cast<const std::byte*>(data) + kCopyBytes - bytes, bytes,
                   cudaMemcpyDeviceToHost),
        "reading the copy"));
  }
  if (ends[0] != ends[1]) return fail(ErrorCode::kInternal, "", "a copy differs from its source");
  return 2.0 * kCopyBytes / seconds;
}

}  // namespace

Result<std::string> describe_device() {
  cudaDeviceProp properties{};
  int driver = 0;
  int runtime = 0;
  DSL_TRY(cuda_status(cudaSetDevice(0), "using CUDA device 0"));
  DSL_TRY(cuda_status(cudaGetDeviceProperties(&properties, 0), "asking for CUDA device 0"));
  DSL_TRY(cuda_status(cudaDriverGetVersion(&driver), "asking for the driver"));
  DSL_TRY(cuda_status(cudaRuntimeGetVersion(&runtime), "asking for the runtime"));
  return fmt::format("{}, sm_{}{}, {} multiprocessors, {} MiB, CUDA {}.{} of driver, {}.{} built",
                     properties.name, properties.major, properties.minor,
                     properties.multiProcessorCount, properties.totalGlobalMem >> 20, driver / 1000,
                     driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

Result<double> event_seconds(const std::function<Status()>& start) {
  DSL_ASSIGN(const Event begin, Event::make());
  DSL_ASSIGN(const Event end, Event::make());
  constexpr int kCalls = 4;
  std::vector<double> seconds;
  for (int pass = -1; pass < kPasses; ++pass) {
    DSL_TRY(cuda_status(cudaEventRecord(begin.get()), "recording an event"));
    for (int call = 0; call < kCalls; ++call) DSL_TRY(start());
    DSL_TRY(cuda_status(cudaEventRecord(end.get()), "recording an event"));
    DSL_TRY(cuda_status(cudaEventSynchronize(end.get()), "waiting for an event"));
    float milliseconds = 0;
    DSL_TRY(cuda_status(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "timing"));
    if (pass >= 0) seconds.push_back(milliseconds * 1e-3 / kCalls);  // the first warms up
  }
  std::nth_element(seconds.begin(), seconds.begin() + kPasses / 2, seconds.end());
  return seconds[kPasses / 2];
}

Result<DeviceLimits> measure_limits() {
  DeviceLimits limits;
  DSL_ASSIGN(limits.bytes_per_second, copy_bytes_per_second());
  for (const bool is_fp8 : {false, true}) {
    auto& rate = is_fp8 ? limits.fp8_flops_per_second : limits.bf16_flops_per_second;
    auto measured = cublas_flops_per_second(is_fp8);
    if (measured) {
      rate = *measured;
    } else {
      fmt::print("no limit of {}: {}\n", is_fp8 ? "FP8" : "BF16", measured.error().to_string());
    }
  }
  return limits;
}

}  // namespace dsl::bench
