#include <cstdlib>

#include "tests/e2e/model_backend.h"
#include "tests/e2e/parity_variants.h"
#include "tests/e2e/reference_fixture.h"

namespace dsl::testing {

/// An emulated device has no time for all of them; tests/bench/gpu.sh asks for these.
std::vector<std::string> parity_fixtures() {
  const char* const wish = std::getenv("DSL_PARITY_FIXTURES");
  if (wish != nullptr && std::string_view(wish) == "all") return fixture_names();
  return {"v2_grouped_norm_norope_f16", "v2_lite_greedy_bf16", "v3_fp8"};
}

std::vector<std::string_view> parity_variants() { return {"cuda"}; }

void select_variant(std::string_view, EngineOptions& options) { select_backend(options); }

}  // namespace dsl::testing
