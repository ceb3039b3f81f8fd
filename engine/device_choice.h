// What `--device` names.
#pragma once

#include <string_view>

#include "engine/kernels/device.h"

namespace dsl {

/// Empty for "cpu"; for "cuda" and "cuda:N" opens that device, the first or the N-th that CUDA
/// counts. kInvalidArgument for other names, kNotFound where this build has no CUDA.
Result<DeviceOpener> device_opener(std::string_view name);

}  // namespace dsl
