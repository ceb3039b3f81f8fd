#include "engine/device_choice.h"

#include <charconv>

#ifdef DSL_CUDA
#include "engine/kernels/cuda/cuda_ops.h"
#endif

namespace dsl {
namespace {

constexpr std::string_view kCuda = "cuda";

/// The N of "cuda:N", 0 for "cuda"; negative for other names.
int cuda_device(std::string_view name) {
  if (name == kCuda) return 0;
  if (!name.starts_with(kCuda) || name.substr(kCuda.size()).size() < 2) return -1;
  const std::string_view number = name.substr(kCuda.size() + 1);
  int device = -1;
  const auto [end, error] = std::from_chars(number.begin(), number.end(), device);
  const bool is_number = name[kCuda.size()] == ':' && error == std::errc() && end == number.end();
  return is_number ? device : -1;
}

}  // namespace

Result<DeviceOpener> device_opener(std::string_view name) {
  if (name == "cpu") return DeviceOpener();
  const int device = cuda_device(name);
  if (device < 0) {
    return fail(ErrorCode::kInvalidArgument, "use cpu, cuda or cuda:N", "--device: found {}", name);
  }
#ifdef DSL_CUDA
  return DeviceOpener([device] { return cuda::open_cuda_device(device); });
#else
  return fail(ErrorCode::kNotFound, "build with `cmake --preset cuda`, or use --device cpu",
              "--device {}: this build of dsengine has no CUDA", name);
#endif
}

}  // namespace dsl
