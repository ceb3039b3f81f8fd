// The RDMA devices of this machine, as libibverbs sees them.
#pragma once

#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::verbs {

struct RdmaPort {
  int number = 1;
  std::string state;  // "PORT_ACTIVE", "PORT_DOWN", ...
  bool active = false;
  std::string link_layer;         // "Ethernet", "InfiniBand"
  double gbit_per_s = 0;          // what the driver reports; 2.5 for Soft-RoCE whatever lies below
  std::vector<std::string> gids;  // "fe80::1 RoCEv2", by index, empty slots left out
};

struct RdmaDevice {
  std::string name;       // "mlx5_0", "rxe0"
  bool software = false;  // Soft-RoCE
  std::vector<RdmaPort> ports;
};

/// Empty where there is none, also when the kernel has no RDMA at all. kIo when a device cannot be
/// opened or queried, kTransportUnavailable when this build lacks libibverbs.
Result<std::vector<RdmaDevice>> list_rdma_devices();

/// True when some device has an active port.
bool has_active_port(const std::vector<RdmaDevice>& devices);

}  // namespace dsl::verbs
