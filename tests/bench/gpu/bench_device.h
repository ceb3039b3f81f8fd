// The device that a case of the benchmark runs on.
#pragma once

#include <optional>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/dependent_launch.h"
#include "engine/kernels/cuda/warpgroups.h"
#include "engine/kernels/ops_limits.h"
#include "tests/unit/kernels/environment_override.h"

namespace dsl::bench {

enum class Warpgroups { kWhereTheyMay, kNone };
enum class Starts { kWhereTheyMay, kOneByOne };

/// With ops that know by what they multiply BF16, as those of a rank do before it serves.
inline Result<Device> open_bench_device(Warpgroups warpgroups = Warpgroups::kWhereTheyMay,
                                        Starts starts = Starts::kWhereTheyMay) {
  std::optional<test::EnvironmentOverride> no_warpgroups;
  std::optional<test::EnvironmentOverride> one_by_one;
  if (warpgroups == Warpgroups::kNone) no_warpgroups.emplace(cuda::kWarpgroupsVariable, "off");
  if (starts == Starts::kOneByOne) one_by_one.emplace(cuda::kDependentLaunchVariable, "off");
  Result<Device> device = cuda::open_cuda_device(0);
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
