#include "engine/kernels/latent_layout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace dsl {
namespace {

/// NaN where `largest` is not finite.
float latent_scale(float largest) {
  if (largest == 0) return 1.0f;
  if (!(largest <= std::numeric_limits<float>::max())) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return std::bit_cast<float>(latent_scale_bits(std::bit_cast<std::uint32_t>(largest)));
}

}  // namespace

void encode_latent_row(const LatentCache& cache, const BFloat16* latent, const BFloat16* rope_key,
                       std::byte* row) {
  const LatentLayout layout = latent_layout(cache);
  for (std::int64_t group = 0; group < layout.num_scales; ++group) {
    const std::int64_t begin = group * kLatentGroup;
    const std::int64_t end = std::min(begin + kLatentGroup, cache.kv_lora_rank);
    float largest = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const float magnitude = std::abs(to_float(latent[i]));
      // A NaN stays: nothing is larger.
      largest = largest >= magnitude ? largest : std::isnan(largest) ? largest : magnitude;
    }
    const float scale = latent_scale(largest);
    std::memcpy(row + layout.scales_at + group * 4, &scale, sizeof(scale));
    for (std::int64_t i = begin; i < end; ++i) {
      const Float8E4M3 code =
          std::isnan(scale) ? Float8E4M3{0} : to_float8_e4m3(to_float(latent[i]) / scale);
      row[i] = static_cast<std::byte>(code.bits);
    }
  }
  std::memcpy(row + layout.rope_at, rope_key,
              static_cast<std::size_t>(cache.rope_dim) * sizeof(BFloat16));
}

void decode_latent_row(const LatentCache& cache, const std::byte* row, BFloat16* values) {
  const LatentLayout layout = latent_layout(cache);
  for (std::int64_t group = 0; group < layout.num_scales; ++group) {
    const std::int64_t begin = group * kLatentGroup;
    const std::int64_t end = std::min(begin + kLatentGroup, cache.kv_lora_rank);
    float scale = 0;
    std::memcpy(&scale, row + layout.scales_at + group * 4, sizeof(scale));
    for (std::int64_t i = begin; i < end; ++i) {
      const Float8E4M3 code{static_cast<std::uint8_t>(row[i])};
      values[i] = to_bfloat16(to_float(code) * scale);
    }
  }
  std::memcpy(values + cache.kv_lora_rank, row + layout.rope_at,
              static_cast<std::size_t>(cache.rope_dim) * sizeof(BFloat16));
}

}  // namespace dsl
