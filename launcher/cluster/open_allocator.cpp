#include "launcher/cluster/allocator.h"
#include "launcher/cluster/local_allocator.h"
#include "launcher/cluster/slurm_allocator.h"

namespace dsl::launcher {

std::string script_name(const DeploymentRecord& record) {
  if (record.part == DeploymentPart::kServices) return record.name + "-services";
  return record.replica == 0 ? record.name : fmt::format("{}-{}", record.name, record.replica);
}

Result<std::unique_ptr<Allocator>> open_allocator(ClusterKind cluster) {
  if (cluster == ClusterKind::kSlurm) return open_slurm_allocator();
  return std::make_unique<LocalAllocator>();
}

}  // namespace dsl::launcher
