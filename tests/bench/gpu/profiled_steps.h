// Steps of the whole model for a profiler.
#pragma once

#include <string>

#include "tests/bench/gpu/bench_sizes.h"
#include "transport/base/error.h"

namespace dsl::bench {

/// A long prefill and a decode step of each batch size, between calls that tell a profiler where
/// they begin and end.
Status run_profiled_steps(const std::string& config_path, const ModelSizes& sizes);

}  // namespace dsl::bench
