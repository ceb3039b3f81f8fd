// The backends whose models are compared with the reference implementation: one program each for
// the CPU, for emulated CUDA and for a GPU.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace dsl::testing {

/// The fixtures that the program has time for.
std::vector<std::string> parity_fixtures();
/// Names for select_variant().
std::vector<std::string_view> parity_variants();
/// Makes the engine compute with the variant.
void select_variant(std::string_view variant, EngineOptions& options);

}  // namespace dsl::testing
