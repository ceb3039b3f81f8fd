#include "engine/device_choice.h"

#include <charconv>

#ifdef DSL_CUDA
#include "engine/kernels/cuda/cuda_ops.h"
#endif

namespace dsl {
namespace {

/// The N of "cuda:N", 0 for "cuda"; negative for other names.
int cuda_device(std::string_view name) {
  constexpr std::string_view kNumbered = "cuda:";
  if (name == "cuda") return 0;
  if (!name.starts_with(kNumbered)) return -1;
  const char* const end = name.data() + name.size();
  int device = -1;
  const auto parsed = std::from_chars(name.data() + kNumbered.size(), end, device);
  return parsed.ec == std::errc() && parsed.ptr == end ? device : -1;
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
