#include "launcher/plan/cpu_binding.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <tuple>

namespace dsl::launcher {
namespace {

int read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  int value = 0;
  return file >> value ? value : 0;
}

/// NUMA domain of a core: the kernel puts a link nodeN into the core's folder.
int numa_node_of(const std::filesystem::path& cpu) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(cpu, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("node", 0) == 0 && name.size() > 4) return std::atoi(name.c_str() + 4);
  }
  return 0;
}

}  // namespace

std::vector<int> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<std::tuple<int, int, int, int>> order;  // domain, package, core, cpu
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return {};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    const std::filesystem::path folder = fmt::format("/sys/devices/system/cpu/cpu{}", cpu);
    order.emplace_back(numa_node_of(folder), read_number(folder / "topology/physical_package_id"),
                       read_number(folder / "topology/core_id"), cpu);
  }
  std::sort(order.begin(), order.end());
  std::vector<int> cpus;
  for (const auto& entry : order) cpus.push_back(std::get<3>(entry));
  return cpus;
}

std::vector<std::vector<int>> split_cpus(const std::vector<int>& cpus, int parts) {
  std::vector<std::vector<int>> shares(static_cast<std::size_t>(std::max(parts, 0)));
  const auto count = static_cast<std::ptrdiff_t>(cpus.size());
  if (count < parts) return shares;
  for (std::ptrdiff_t i = 0; i < parts; ++i) {
    shares[static_cast<std::size_t>(i)].assign(cpus.begin() + count * i / parts,
                                               cpus.begin() + count * (i + 1) / parts);
  }
  return shares;
}

int threads_per_rank(int num_cpus, int parts) { return std::max(1, num_cpus / std::max(1, parts)); }

}  // namespace dsl::launcher
