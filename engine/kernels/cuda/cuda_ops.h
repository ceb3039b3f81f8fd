// The operations on an NVIDIA GPU.
#pragma once

#include "engine/kernels/device.h"

namespace dsl::cuda {

/// How many this process sees; kNotFound without any.
Result<int> num_cuda_devices();

/// The ops ("cuda"), memory, token chooser and network of a device, in one order. All views point
/// to memory that the device can read, spans to memory of the host. Calls return before their work
/// is done; finish() waits. kNotFound without a usable device.
Result<Device> open_cuda_device(int device);

}  // namespace dsl::cuda
