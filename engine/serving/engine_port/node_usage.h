// What a node uses, as its kernel and its GPUs' driver count it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/serving/engine_port/fabric_ports.h"
#include "engine/serving/engine_port/gpu_usage.h"

namespace dsl::serving {

struct NodeUsage {
  std::string host;
  double read_unix_s = 0;  // by the node's clock
  int num_cpus = 0;
  double cpu_busy_s = 0;  // summed over the CPUs, since boot
  std::int64_t memory_bytes = 0;
  std::int64_t memory_available_bytes = 0;
  std::vector<FabricPort> fabric_ports;
  std::vector<GpuUsage> gpus;
};

/// Empty when it cannot be told.
std::string own_host_name();

struct NodeProbeOptions {
  std::filesystem::path fabric_folder = "/sys/class/infiniband";
  std::string gpu_library = "libnvidia-ml.so.1";
};

/// Thread-compatible.
class NodeProbe {
 public:
  explicit NodeProbe(NodeProbeOptions options = {});

  /// What cannot be read stays 0.
  NodeUsage read() const;

 private:
  NodeProbeOptions options_;
  GpuProbe gpus_;
};

}  // namespace dsl::serving
