// What connects NVIDIA GPUs of a node: NCCL, where the build has it.
#pragma once

#include <memory>

#include "engine/kernels/device_network.h"
#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

struct NetworkOptions {
  /// What travels to a GPU in the time that one more exchange takes: about 10 us at the 200 GB/s
  /// that NVLink carries in one direction. A sum of n shards is gathered whole (one exchange, n - 1
  /// payloads to each) while what that carries beyond slices that are summed and gathered (two
  /// exchanges, 2 (n - 1) / n payloads) is less. Reckoned, not measured.
  std::int64_t exchange_bytes = std::int64_t{2} << 20;
};

/// What groups exchange runs on the stream. Null where this build has no NCCL.
Result<std::unique_ptr<DeviceNetwork>> open_network(std::shared_ptr<Stream> stream,
                                                    const NetworkOptions& options = {});

}  // namespace dsl::cuda
