#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/e2e/model_backend.h"

namespace dsl::testing {

void select_backend(EngineOptions& options) {
  options.open_device = [](int) { return cuda::open_cuda_device(0); };
}

}  // namespace dsl::testing
