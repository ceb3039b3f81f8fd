// The paged caches of MLA latents of one stage's layers.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels/latent_layout.h"
#include "engine/runtime/memory.h"

namespace dsl::model {

/// Tokens of a cache block: small, so that a sequence wastes little, and still longer than a memory
/// page.
inline constexpr std::int64_t kBlockTokens = 32;

/// Bytes of one token in one layer's cache.
constexpr std::int64_t latent_bytes(std::int64_t kv_lora_rank, std::int64_t rope_dim, DType dtype) {
  return latent_layout(kv_lora_rank, rope_dim, dtype).row_bytes;
}

/// The dtype of a deployment's caches.
constexpr DType cache_dtype(DType compute_dtype, bool fp8_cache) {
  return fp8_cache ? DType::kF8E4M3 : compute_dtype;
}
/// An FP8 cache keeps what BF16 activations are rounded to.
Status check_cache(DType compute_dtype, bool fp8_cache);

struct LatentCacheShape {
  std::int64_t num_layers = 0;
  std::int64_t num_blocks = 0;
  std::int64_t kv_lora_rank = 0;
  std::int64_t rope_dim = 0;
  DType dtype = DType::kBF16;
};

/// Owns one cache per layer, all with the same block numbers. On the host a page is resident once
/// it was written.
class LatentCaches {
 public:
  static Result<LatentCaches> make(Memory& memory, const LatentCacheShape& shape);
  /// What make() allocates.
  static std::int64_t bytes(const LatentCacheShape& shape);

  /// `layer` counts from the stage's first.
  const LatentCache& layer(std::int64_t layer) const {
    return views_[static_cast<std::size_t>(layer)];
  }

 private:
  LatentCaches(Buffer buffer, std::vector<LatentCache> views)
      : buffer_(std::move(buffer)), views_(std::move(views)) {}

  Buffer buffer_;
  std::vector<LatentCache> views_;
};

}  // namespace dsl::model
