// What connects NVIDIA GPUs of a node: NCCL, where the build has it.
#pragma once

#include <memory>

#include "engine/kernels/cuda/sum_buffer.h"
#include "engine/kernels/device_network.h"
#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

struct NetworkOptions {
  std::int64_t exchange_bytes = kExchangeBytes;
};

/// What groups exchange runs on the stream. Null where this build or this
/// machine has no NCCL.
Result<std::unique_ptr<DeviceNetwork>> open_network(std::shared_ptr<Stream> stream,
                                                    const NetworkOptions& options = {});

}  // namespace dsl::cuda
