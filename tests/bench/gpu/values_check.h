// Whether weights made on the device are those of a synthetic checkpoint.
#pragma once

#include "tests/bench/gpu/measurement.h"
#include "transport/base/error.h"

namespace dsl::bench {

/// Compares bits with checkpoint::fill_synthetic(), in float32 and BF16.
Result<Measurement> compare_values_with_synthetic();

}  // namespace dsl::bench
