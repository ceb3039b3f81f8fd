// What computes a rank's ops, and the memory that they work on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/kernels/device_network.h"
#include "engine/kernels/ops.h"
#include "engine/kernels/token_choice.h"
#include "engine/runtime/memory.h"

namespace dsl {

/// The ops' views point into `memory`.
struct Device {
  std::unique_ptr<Memory> memory;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<TokenChooser> chooser;   // null: tokens are chosen on the host
  std::unique_ptr<DeviceNetwork> network;  // null: other devices are reached through the hosts
  std::string name;                        // for people; empty: the host
  std::string identifier;                  // equal in processes of a node that use the same device
};

/// Opens a device of this node for its `node_rank`-th rank; kNotFound when it is not there.
using DeviceOpener = std::function<Result<Device>(int node_rank)>;

}  // namespace dsl
