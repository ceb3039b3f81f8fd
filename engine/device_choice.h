// What `--device` names.
#pragma once

#include <string_view>

#include "engine/kernels/device.h"

namespace dsl {

/// Empty for "cpu". "cuda:N" opens the N-th device that CUDA counts, "cuda" each rank's own: the
/// ranks of a node take the devices that they see in turn. kInvalidArgument for other names,
/// kNotFound where this build has no CUDA.
Result<DeviceOpener> device_opener(std::string_view name);

}  // namespace dsl
