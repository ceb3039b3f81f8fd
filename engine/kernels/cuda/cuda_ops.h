// The operations on an NVIDIA GPU.
#pragma once

#include <memory>

#include "engine/kernels/device.h"
#include "engine/kernels/ops.h"

namespace dsl::cuda {

/// "cuda". All views point to memory that the device can read, spans to memory of the host. Calls
/// return before their work is done; finish() waits. kNotFound without a usable device.
Result<std::unique_ptr<Ops>> make_cuda_ops(int device);

/// How many this process sees; kNotFound without any.
Result<int> num_cuda_devices();

/// The ops and the memory of a device, in one order.
Result<Device> open_cuda_device(int device);

}  // namespace dsl::cuda
