#include "transport/verbs/ucx_facts.h"

namespace dsl::verbs {

Result<UcxFacts> query_ucx() {
  return fail(ErrorCode::kTransportUnavailable, "build with UCX (libucx-dev)",
              "this build lacks UCX: ranks can only be threads of one process");
}

}  // namespace dsl::verbs
