// Counter-based noise: random numbers as a pure function of (seed, position, token id).
#pragma once

#include <array>
#include <cstdint>

namespace dsl::sampling {

/// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

/// The noise of one position of a sequence. Thread-compatible: keeps the last block of four
/// numbers.
class PositionNoise {
 public:
  PositionNoise(std::uint64_t seed, std::int64_t position);

  /// Uniform on (0, 1), in steps of 2^-32 from 2^-33; a function of the token id alone for this
  /// object.
  double uniform(std::int32_t token_id);

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 2> position_;
  std::uint32_t block_index_ = ~std::uint32_t{0};
  std::array<std::uint32_t, 4> block_{};
};

}  // namespace dsl::sampling
