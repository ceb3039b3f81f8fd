#include "tests/e2e/model_backend.h"

namespace dsl::testing {

void select_backend(EngineOptions&) {}

}  // namespace dsl::testing
