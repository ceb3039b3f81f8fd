// The memory bandwidth of this machine as kernels see it: the limit that decoding is measured
// against.
#pragma once

#include "engine/runtime/thread_pool.h"

namespace dsl {

/// Bytes per second that all threads of the pool together read from a buffer far larger than the
/// caches: the median of several passes. Takes about half a second and 512 MiB of memory, which it
/// gives back. kOutOfMemory when there is not that much.
Result<double> measure_read_bandwidth(ThreadPool& pool);

}  // namespace dsl
