// What the models of a test program are computed with.
#pragma once

#include "engine/engine.h"

namespace dsl::testing {

/// Makes the engine compute with the program's backend: on the CPU with the kernels that are chosen
/// for users, or on CUDA device 0, which all ranks share.
void select_backend(EngineOptions& options);

}  // namespace dsl::testing
