// The noise of sampling: a pure function of (seed, position, token id).
#pragma once

#include <cstdint>

#include "engine/runtime/philox.h"

namespace dsl::sampling {

/// The noise of one position of a sequence. Thread-compatible: keeps the last block of four
/// numbers.
class PositionNoise {
 public:
  PositionNoise(std::uint64_t seed, std::int64_t position) : seed_(seed), position_(position) {}

  /// uniform_of() its word; a function of the token id alone for this object.
  double uniform(std::int32_t token_id) {
    const auto id = static_cast<std::uint32_t>(token_id);
    if (id / 4 != block_index_) {
      block_index_ = id / 4;
      block_ = token_noise(seed_, position_, block_index_);
    }
    return uniform_of(block_.words[id % 4]);
  }

 private:
  std::uint64_t seed_;
  std::int64_t position_;
  std::uint32_t block_index_ = ~std::uint32_t{0};
  PhiloxBlock block_{};
};

}  // namespace dsl::sampling
