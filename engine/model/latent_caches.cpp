#include "engine/model/latent_caches.h"

namespace dsl::model {

Result<LatentCaches> LatentCaches::make(Memory& memory, const LatentCacheShape& shape) {
  const std::int64_t layer_bytes = shape.num_blocks * kBlockTokens *
                                   latent_bytes(shape.kv_lora_rank, shape.rope_dim, shape.dtype);
  DSL_ASSIGN(Buffer buffer,
             Buffer::allocate(memory, static_cast<std::size_t>(layer_bytes * shape.num_layers),
                              "latent cache"));
  std::vector<LatentCache> views;
  for (std::int64_t i = 0; i < shape.num_layers; ++i) {
    views.push_back({buffer.as<std::byte>() + i * layer_bytes, shape.dtype, shape.num_blocks,
                     kBlockTokens, shape.kv_lora_rank, shape.rope_dim});
  }
  return LatentCaches(std::move(buffer), std::move(views));
}

}  // namespace dsl::model
