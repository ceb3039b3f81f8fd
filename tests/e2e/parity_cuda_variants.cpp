#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/e2e/parity_variants.h"

namespace dsl::testing {

std::vector<std::string> parity_fixtures() {
  return {"v2_grouped_norm_norope_f16", "v2_lite_greedy_bf16", "v3_fp8"};
}

std::vector<std::string_view> parity_variants() { return {"cuda"}; }

void select_variant(std::string_view, EngineOptions& options) {
  options.open_device = [](int) { return cuda::open_cuda_device(0); };
}

}  // namespace dsl::testing
