#include "engine/kernels/dispatch.h"
#include "tests/e2e/parity_variants.h"
#include "tests/e2e/reference_fixture.h"

namespace dsl::testing {

std::vector<std::string> parity_fixtures() { return fixture_names(); }

std::vector<std::string_view> parity_variants() {
  const auto variants = available_variants();
  return {variants.begin(), variants.end()};
}

void select_variant(std::string_view variant, EngineOptions& options) { options.kernels = variant; }

}  // namespace dsl::testing
