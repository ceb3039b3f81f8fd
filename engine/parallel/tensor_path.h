// Which way a tensor-parallel group exchanges its values: among its devices, or through the hosts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/kernels/device_network.h"
#include "engine/parallel/tensor_parallel.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"

namespace dsl::parallel {

/// Owns what devices exchange.
struct TensorPath {
  ShardLink link = ShardLink::kHosts;
  std::string reason;                          // why through the hosts
  std::unique_ptr<DeviceCollectives> devices;  // of a group that is connected over them

  /// "nccl" or "host".
  std::string name() const { return devices == nullptr ? "host" : devices->name(); }
};

/// All members of the group call it, and all take the same way. The devices' own is taken where
/// every member has a `network` (null: none) and its own device, all on one node, and no
/// environment says DSL_TENSOR_SUMS=host.
Result<TensorPath> agree_on_tensor_path(const DeviceNetwork* network,
                                        collectives::Collectives& group, Deadline deadline);

/// Opens the way that all members have agreed on; that it cannot be opened is an error. Sums have
/// at most `max_values` values.
Result<TensorPath> connect(TensorPath path, DeviceNetwork* network, std::int64_t max_values,
                           collectives::Collectives& group, Deadline deadline);

}  // namespace dsl::parallel
