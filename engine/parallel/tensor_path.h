// Which way the sums of a tensor-parallel group take: among its devices, or through the hosts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/kernels/device_network.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"

namespace dsl::parallel {

/// Owns a group's sums.
struct TensorPath {
  std::unique_ptr<ShardSums> sums;  // null: through the hosts
  std::string reason;               // why through the hosts

  /// "nccl" or "host".
  std::string name() const { return sums == nullptr ? "host" : sums->name(); }
};

/// All members of the group call it, and all take the same way. The devices' own is taken where
/// every member has a `network` (null: none) and its own device, all on one node, and no
/// environment says DSL_TENSOR_SUMS=host. A way that is there and cannot be opened is an error.
/// Sums have at most `max_values` values.
Result<TensorPath> open_tensor_path(DeviceNetwork* network, std::int64_t max_values,
                                    collectives::Collectives& group, Deadline deadline);

}  // namespace dsl::parallel
