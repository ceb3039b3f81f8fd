// Names of allocations that hold wherever the user's home is mounted: on several hosts and
// clusters.
#pragma once

#include <string>
#include <string_view>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct AllocationName {
  ClusterKind cluster = ClusterKind::kLocal;
  std::string place;  // where the id means something: a pid_space(), or Slurm's name of a cluster
  std::string id;     // Allocator's

  bool operator==(const AllocationName&) const = default;
};

/// "slurm hpc 4711": three words.
std::string to_line(const AllocationName& name);
/// Reads what to_line wrote; kProtocol otherwise.
Result<AllocationName> parse_allocation_name(std::string_view line);

}  // namespace dsl::launcher
