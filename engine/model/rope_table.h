// Cosines and sines of the rotary embedding, plain or YaRN-scaled.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/kernels/ops.h"
#include "engine/runtime/memory.h"

namespace dsl::model {

/// Inverse frequencies of the qk_rope_head_dim/2 pairs. YaRN interpolates the slow ones by
/// `factor`, keeps the fast ones, and blends linearly between the dimensions that turn beta_fast
/// and beta_slow times within the original context.
std::vector<float> inverse_frequencies(const checkpoint::ModelConfig& config);

/// Factor of all cosines and sines: YaRN's mscale over its mscale_all_dim, as magnitudes of the
/// context extension.
float rope_magnitude(const checkpoint::ModelConfig& config);

/// Owns the tables of positions [0, max_positions). Angles are float32 products, as in the
/// reference model.
class RopeTables {
 public:
  static Result<RopeTables> make(Memory& memory, const checkpoint::ModelConfig& config,
                                 std::int64_t max_positions);

  /// What make() allocates.
  static std::int64_t bytes(const checkpoint::ModelConfig& config, std::int64_t max_positions) {
    return max_positions * config.qk_rope_head_dim * static_cast<std::int64_t>(sizeof(float));
  }

  const RopeTable& view() const { return view_; }

 private:
  RopeTables(Buffer buffer, RopeTable view) : buffer_(std::move(buffer)), view_(view) {}

  Buffer buffer_;
  RopeTable view_;
};

}  // namespace dsl::model
