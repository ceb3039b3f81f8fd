#include "engine/serving/engine_port/node_usage.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <fstream>
#include <utility>

namespace dsl::serving {
namespace {

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

}  // namespace

std::string own_host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

NodeProbe::NodeProbe(NodeProbeOptions options)
    : options_(std::move(options)), gpus_(options_.gpu_library) {}

NodeUsage NodeProbe::read() const {
  NodeUsage usage;
  usage.host = own_host_name();
  usage.read_unix_s =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  usage.num_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  usage.cpu_busy_s = busy_cpu_seconds();
  read_memory(usage);
  usage.fabric_ports = read_fabric_ports(options_.fabric_folder);
  usage.gpus = gpus_.read();
  return usage;
}

}  // namespace dsl::serving
