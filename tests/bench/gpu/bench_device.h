// The device that a case of the benchmark runs on.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/warpgroups.h"
#include "engine/kernels/ops_limits.h"

namespace dsl::bench {

enum class Warpgroups { kWhereTheyMay, kNone };

/// With ops that know by what they multiply BF16, as those of a rank do before it serves.
inline Result<Device> open_bench_device(Warpgroups warpgroups = Warpgroups::kWhereTheyMay) {
  const char* const set = std::getenv(cuda::kWarpgroupsVariable);
  const std::optional<std::string> wish =
      set == nullptr ? std::nullopt : std::optional<std::string>(set);
  if (warpgroups == Warpgroups::kNone) setenv(cuda::kWarpgroupsVariable, "off", 1);
  Result<Device> device = cuda::open_cuda_device(0);
  if (wish) {
    setenv(cuda::kWarpgroupsVariable, wish->c_str(), 1);
  } else {
    unsetenv(cuda::kWarpgroupsVariable);
  }
  if (!device) return device;
  // The ops take more when they are called.
  OpsLimits limits;
  limits.max_rows = 1;
  limits.max_positions = 1;
  limits.attention = {1, 128, 64, 128, 512, 1};
  DSL_TRY(device->ops->reserve(limits));
  return device;
}

}  // namespace dsl::bench
