#include "transport/ucx/ucx_wire.h"

namespace dsl::ucx {

bool available() { return false; }

Result<std::unique_ptr<wire::Wire>> connect(bootstrap::Membership&, UcxOptions, Deadline) {
  return fail(ErrorCode::kTransportUnavailable, "build with UCX (libucx-dev)",
              "this build cannot connect processes: it lacks UCX");
}

}  // namespace dsl::ucx
