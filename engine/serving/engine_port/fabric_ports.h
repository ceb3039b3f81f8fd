// The ports of a node's fabric adapters (InfiniBand, RoCE), as sysfs counts them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace dsl::serving {

struct FabricCounter {
  std::string group;  // the folder: "counters" of the port, "hw_counters" of the adapter
  std::string name;
  std::int64_t value = 0;
};

struct FabricPort {
  std::string device;
  int port = 0;
  std::int64_t transmitted_bytes = 0;
  std::int64_t received_bytes = 0;
  std::vector<FabricCounter> counters;  // all that there are, as they are
};

/// `folder` as /sys/class/infiniband. Files that hold no number are left out.
std::vector<FabricPort> read_fabric_ports(const std::filesystem::path& folder);

}  // namespace dsl::serving
