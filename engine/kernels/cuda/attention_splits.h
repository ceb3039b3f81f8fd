// How the cached positions of a row are shared out: a split is what one block of attention takes.
// Plain C++ too: a plan is made without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/runtime/host_device.h"

namespace dsl::cuda {

/// Short splits make blocks for a GPU that has little else to do, long ones leave fewer results to
/// be joined: those of 16 heads take as many bytes as 28 cached positions (docs/kernels.md).
inline constexpr std::int64_t kMinSplitPositions = 128;
inline constexpr std::int64_t kMaxSplitPositions = 1024;
/// Splits of a row before longer ones are made.
inline constexpr std::int64_t kPreferredSplits = 8;

/// Positions of the splits of a row that attends to [0, position]. They depend on nothing else, so
/// that a row's result is that of the row alone.
DSL_HOST_DEVICE constexpr std::int64_t split_positions(std::int64_t position) {
  const std::int64_t num_cached = position + 1;
  std::int64_t positions = kMinSplitPositions;
  while (positions < kMaxSplitPositions && num_cached >= kPreferredSplits * positions) {
    positions *= 2;
  }
  return positions;
}

DSL_HOST_DEVICE constexpr std::int64_t num_splits(std::int64_t position) {
  return position / split_positions(position) + 1;
}

/// The most splits of a row that attends to [0, position] or less.
constexpr std::int64_t max_splits(std::int64_t position) {
  return std::max(std::min(position / kMinSplitPositions + 1, kPreferredSplits),
                  position / kMaxSplitPositions + 1);
}

}  // namespace dsl::cuda
