#include "engine/device_choice.h"

#include <charconv>

#ifdef DSL_CUDA
#include "engine/kernels/cuda/cuda_ops.h"
#endif

namespace dsl {
namespace {

/// The N of "cuda:N"; negative for other names.
int numbered_device(std::string_view name) {
  constexpr std::string_view kNumbered = "cuda:";
  if (!name.starts_with(kNumbered)) return -1;
  const char* const end = name.data() + name.size();
  int device = -1;
  const auto parsed = std::from_chars(name.data() + kNumbered.size(), end, device);
  return parsed.ec == std::errc() && parsed.ptr == end ? device : -1;
}

#ifdef DSL_CUDA
/// Ranks of a node take its devices in turn.
Result<Device> open_in_turn(int node_rank) {
  DSL_ASSIGN(const int num_devices, cuda::num_cuda_devices());
  return cuda::open_cuda_device(node_rank % num_devices);
}
#endif

}  // namespace

Result<DeviceOpener> device_opener(std::string_view name) {
  if (name == "cpu") return DeviceOpener();
  const bool is_any = name == "cuda";
  const int device = numbered_device(name);
  if (!is_any && device < 0) {
    return fail(ErrorCode::kInvalidArgument, "use cpu, cuda or cuda:N", "--device: found {}", name);
  }
#ifdef DSL_CUDA
  if (is_any) return DeviceOpener(open_in_turn);
  return DeviceOpener([device](int) { return cuda::open_cuda_device(device); });
#else
  return fail(ErrorCode::kNotFound, "build with `cmake --preset cuda`, or use --device cpu",
              "--device {}: this build of dsengine has no CUDA", name);
#endif
}

}  // namespace dsl
