#include "engine/serving/engine_port/node_usage.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace dsl::serving {
namespace {

/// Fabric counters count words of four bytes.
constexpr std::int64_t kFabricWordBytes = 4;

double busy_cpu_seconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double user = 0;
  double nice = 0;
  double system = 0;
  stat >> cpu >> user >> nice >> system;
  return (user + nice + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void read_memory(NodeUsage& usage) {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::int64_t kib = 0;
  std::string unit;
  while (meminfo >> key >> kib >> unit) {
    if (key == "MemTotal:") usage.memory_bytes = kib * 1024;
    if (key == "MemAvailable:") usage.memory_available_bytes = kib * 1024;
  }
}

std::vector<FabricPort> read_fabric_ports() {
  namespace fs = std::filesystem;
  std::vector<FabricPort> ports;
  std::error_code ignored;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", ignored)) {
    for (const auto& entry : fs::directory_iterator(device.path() / "ports", ignored)) {
      FabricPort port;
      port.device = device.path().filename().string();
      const std::string number = entry.path().filename().string();
      std::from_chars(number.data(), number.data() + number.size(), port.port);
      const auto words = [&](std::string_view counter) {
        std::int64_t value = 0;
        std::ifstream(entry.path() / "counters" / counter) >> value;
        return value;
      };
      port.transmitted_bytes = words("port_xmit_data") * kFabricWordBytes;
      port.received_bytes = words("port_rcv_data") * kFabricWordBytes;
      ports.push_back(std::move(port));
    }
  }
  return ports;
}

}  // namespace

NodeUsage read_node_usage() {
  NodeUsage usage;
  usage.num_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  usage.cpu_busy_s = busy_cpu_seconds();
  read_memory(usage);
  usage.fabric_ports = read_fabric_ports();
  return usage;
}

}  // namespace dsl::serving
