// What a node uses, as the kernel counts it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dsl::serving {

/// A port of a fabric adapter.
struct FabricPort {
  std::string device;
  int port = 0;
  std::int64_t transmitted_bytes = 0;
  std::int64_t received_bytes = 0;
};

struct NodeUsage {
  int num_cpus = 0;
  double cpu_busy_s = 0;  // summed over the CPUs, since boot
  std::int64_t memory_bytes = 0;
  std::int64_t memory_available_bytes = 0;
  std::vector<FabricPort> fabric_ports;
};

/// Reads /proc and /sys; what cannot be read stays 0.
NodeUsage read_node_usage();

}  // namespace dsl::serving
