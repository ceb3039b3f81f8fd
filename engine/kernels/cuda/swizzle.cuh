// The order of 16-byte chunks in rows of 128 bytes of shared memory that tensor cores read.
#pragma once

#include <cuda_runtime.h>

namespace dsl::cuda {

/// Bytes of every row of an operand that lie together, and rows that take turns with their chunks.
inline constexpr int kSwizzleBytes = 128;
inline constexpr int kSwizzleRows = 8;

/// Where chunk `chunk` of row `row` of an operand lies, in chunks from its beginning: eight rows
/// below each other meet all banks.
__host__ __device__ constexpr int swizzled_chunk(int row, int chunk) {
  return row * (kSwizzleBytes / 16) + (chunk ^ row % kSwizzleRows);
}

}  // namespace dsl::cuda
