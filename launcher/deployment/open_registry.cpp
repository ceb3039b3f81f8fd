#include "launcher/deployment/local_registry.h"
#include "launcher/deployment/registry.h"
#include "launcher/deployment/slurm_registry.h"

namespace dsl::launcher {

Result<std::unique_ptr<Registry>> open_registry(ClusterKind cluster) {
  if (cluster == ClusterKind::kSlurm) return open_slurm_registry();
  DSL_ASSIGN(std::unique_ptr<Registry> registry, LocalRegistry::open());
  return registry;
}

}  // namespace dsl::launcher
