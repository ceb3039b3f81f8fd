// Matrices of BF16 in shared memory as products of warpgroups read them: panels of 64 columns,
// whose rows have 128 bytes.
#pragma once

#include "engine/kernels/cuda/fragments.cuh"
#include "engine/kernels/cuda/mla_tiles.cuh"
#include "engine/kernels/cuda/swizzle.cuh"

namespace dsl::cuda {

inline constexpr int kPanelChunks = kSwizzleBytes / kWideBytes;
inline constexpr int kPanelCols = kPanelChunks * kChunk;

/// Begins where operands may.
template <int kPanels, int kRows>
struct SwizzledPanels {
  static constexpr std::uint32_t kPanelBytes = kRows * kSwizzleBytes;
  static_assert(kRows % kSwizzleRows == 0);
  Wide chunks[kPanels][kRows * kPanelChunks];

  __device__ Wide* chunk(int row, int panel, int of_panel) {
    return &chunks[panel][swizzled_chunk(row, of_panel)];
  }
};

}  // namespace dsl::cuda
