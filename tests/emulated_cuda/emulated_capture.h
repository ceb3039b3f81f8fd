// What a stream that captures records.
#pragma once

#include <functional>

#include "tests/emulated_cuda/include/cuda_runtime_api.h"

namespace dsl::test {

/// Runs `work` now, or records it where the thread captures.
cudaError_t run_or_record(std::function<cudaError_t()> work);
/// False during a capture of the thread, which is broken by the question: only what a capture does
/// not allow asks.
bool may_run_now();
/// The same of a stream that some thread captures.
bool may_be_asked(cudaStream_t stream);

}  // namespace dsl::test
