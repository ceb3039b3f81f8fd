// Counter-based random numbers, for the host and for devices.
#pragma once

#include <cstdint>

#include "engine/runtime/host_device.h"

namespace dsl {

struct PhiloxBlock {
  std::uint32_t words[4];
};

/// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
DSL_HOST_DEVICE constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint64_t key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
  auto key0 = static_cast<std::uint32_t>(key);
  auto key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter.words[0];
    const std::uint64_t product1 = kMultiplier1 * counter.words[2];
    counter = {{static_cast<std::uint32_t>(product1 >> 32) ^ counter.words[1] ^ key0,
                static_cast<std::uint32_t>(product1),
                static_cast<std::uint32_t>(product0 >> 32) ^ counter.words[3] ^ key1,
                static_cast<std::uint32_t>(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

/// Four words of the noise of a position of a sequence: those of tokens [4 * block, 4 * block + 4).
DSL_HOST_DEVICE constexpr PhiloxBlock token_noise(std::uint64_t seed, std::int64_t position,
                                                  std::uint32_t block) {
  return philox4x32({{block, 0, static_cast<std::uint32_t>(position),
                      static_cast<std::uint32_t>(static_cast<std::uint64_t>(position) >> 32)}},
                    seed);
}

/// Uniform on (0, 1), in steps of 2^-32 from 2^-33.
DSL_HOST_DEVICE constexpr double uniform_of(std::uint32_t word) { return (word + 0.5) * 0x1p-32; }

}  // namespace dsl
