// Slurm's notation for a number per node, e.g. SLURM_JOB_CPUS_PER_NODE="8(x3),4".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::slurm {

/// The number of each of `num_nodes` nodes, in the order of the hostlist. kInvalidArgument when the
/// text is malformed or describes another number of nodes.
Result<std::vector<std::uint32_t>> expand_cpu_counts(std::string_view text, std::size_t num_nodes);

}  // namespace dsl::slurm
