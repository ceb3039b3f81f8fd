#include "engine/model/latent_caches.h"

namespace dsl::model {
namespace {

std::int64_t bytes_of_layer(const LatentCacheShape& shape) {
  return shape.num_blocks * kBlockTokens *
         latent_bytes(shape.kv_lora_rank, shape.rope_dim, shape.dtype);
}

}  // namespace

Status check_cache(DType compute_dtype, bool fp8_cache) {
  if (!fp8_cache || compute_dtype == DType::kBF16) return {};
  return fail(ErrorCode::kInvalidArgument, "use --dtype bf16, or leave --fp8-cache out",
              "FP8 cache: expected activations in {}, found {}", name_of(DType::kBF16),
              name_of(compute_dtype));
}

std::int64_t LatentCaches::bytes(const LatentCacheShape& shape) {
  return bytes_of_layer(shape) * shape.num_layers;
}

Result<LatentCaches> LatentCaches::make(Memory& memory, const LatentCacheShape& shape) {
  const std::int64_t layer_bytes = bytes_of_layer(shape);
  DSL_ASSIGN(Buffer buffer,
             Buffer::allocate(memory, static_cast<std::size_t>(bytes(shape)), "latent cache"));
  std::vector<LatentCache> views;
  for (std::int64_t i = 0; i < shape.num_layers; ++i) {
    views.push_back({buffer.as<std::byte>() + i * layer_bytes, shape.dtype, shape.num_blocks,
                     kBlockTokens, shape.kv_lora_rank, shape.rope_dim});
  }
  return LatentCaches(std::move(buffer), std::move(views));
}

}  // namespace dsl::model
