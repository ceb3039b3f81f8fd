// The CPUs this process may run on, in the order in which threads should take them.
#pragma once

#include <vector>

namespace dsl {

/// CPU numbers from the process's affinity mask (which a cpuset, Slurm or taskset may have
/// narrowed): one CPU of each core first, then the remaining hardware threads. Never empty.
struct CpuSet {
  std::vector<int> cpus;
  int num_cores = 1;
};

CpuSet usable_cpus();

}  // namespace dsl
