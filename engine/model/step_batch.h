// The rows of one step as the layers see them.
#pragma once

#include <cstdint>
#include <span>

#include "engine/kernels/ops.h"

namespace dsl::model {

/// Non-owning. Row i is a token at positions[i] of its sequence; its latent goes to cache row
/// slots[i].
struct StepBatch {
  std::span<const std::int32_t> token_ids;     // [rows]
  std::span<const std::int32_t> positions;     // [rows]
  std::span<const std::int64_t> slots;         // [rows], block * kBlockTokens + offset
  std::span<const AttentionSegment> segments;  // cover the rows in order

  std::int64_t rows() const { return static_cast<std::int64_t>(positions.size()); }
};

}  // namespace dsl::model
