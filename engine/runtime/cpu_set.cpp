#include "engine/runtime/cpu_set.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <thread>

namespace dsl {
namespace {

/// Enough for the largest machines Linux supports today.
constexpr int kMaxCpus = 8192;

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

std::vector<int> affinity_of_process() {
  const std::unique_ptr<cpu_set_t, CpuSetDeleter> set(CPU_ALLOC(kMaxCpus));
  const std::size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  std::vector<int> cpus;
  if (set != nullptr && sched_getaffinity(0, size, set.get()) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(cpu, size, set.get())) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    const int count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < count; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

/// The lowest-numbered hardware thread of a CPU's core; the CPU itself where the system does not
/// say.
int first_sibling(int cpu) {
  const std::string path =
      fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu);
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return cpu;
  int first = cpu;
  if (std::fscanf(file, "%d", &first) != 1) first = cpu;
  std::fclose(file);
  return first;
}

}  // namespace

CpuSet usable_cpus() {
  CpuSet result;
  std::vector<int> siblings;
  std::set<int> cores;
  for (const int cpu : affinity_of_process()) {
    if (cores.insert(first_sibling(cpu)).second) {
      result.cpus.push_back(cpu);
    } else {
      siblings.push_back(cpu);
    }
  }
  result.num_cores = static_cast<int>(result.cpus.size());
  result.cpus.insert(result.cpus.end(), siblings.begin(), siblings.end());
  return result;
}

}  // namespace dsl
