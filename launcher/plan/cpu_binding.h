// Shares of a node's cores for its ranks.
#pragma once

#include <vector>

namespace dsl::launcher {

/// The cores this process may run on, neighbours first: by NUMA domain, then core, hardware threads
/// together.
std::vector<int> usable_cpus();

/// Cuts `cpus` into `parts` consecutive shares whose sizes differ by at most one. With fewer cores
/// than parts all shares are empty: ranks then share the cores unbound.
std::vector<std::vector<int>> split_cpus(const std::vector<int>& cpus, int parts);

/// Threads of each of `parts` ranks when the user gave no number.
int threads_per_rank(int num_cpus, int parts);

}  // namespace dsl::launcher
