#include "launcher/cluster/allocator.h"
#include "launcher/cluster/local_allocator.h"
#include "launcher/cluster/slurm_allocator.h"

namespace dsl::launcher {

Result<std::unique_ptr<Allocator>> open_allocator(ClusterKind cluster) {
  if (cluster == ClusterKind::kSlurm) return open_slurm_allocator();
  return std::make_unique<LocalAllocator>();
}

}  // namespace dsl::launcher
