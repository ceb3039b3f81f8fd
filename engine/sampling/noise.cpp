#include "engine/sampling/noise.h"

namespace dsl::sampling {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

PositionNoise::PositionNoise(std::uint64_t seed, std::int64_t position)
    : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
      position_{static_cast<std::uint32_t>(position),
                static_cast<std::uint32_t>(static_cast<std::uint64_t>(position) >> 32)} {}

double PositionNoise::uniform(std::int32_t token_id) {
  const auto id = static_cast<std::uint32_t>(token_id);
  if (id / 4 != block_index_) {
    block_index_ = id / 4;
    block_ = philox4x32({block_index_, 0, position_[0], position_[1]}, key_);
  }
  return (block_[id % 4] + 0.5) * 0x1p-32;
}

}  // namespace dsl::sampling
