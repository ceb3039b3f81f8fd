#include "transport/verbs/rdma_devices.h"

namespace dsl::verbs {

Result<std::vector<RdmaDevice>> list_rdma_devices() {
  return fail(ErrorCode::kTransportUnavailable, "build with libibverbs (rdma-core)",
              "this build cannot list RDMA devices: it lacks libibverbs");
}

bool has_active_port(const std::vector<RdmaDevice>&) { return false; }

}  // namespace dsl::verbs
