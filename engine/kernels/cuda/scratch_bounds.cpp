#include "engine/kernels/cuda/scratch_bounds.h"

#include <algorithm>
#include <bit>

#include "engine/kernels/cuda/attention_splits.h"
#include "engine/kernels/quantised_inputs.h"

namespace dsl::cuda {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

std::int64_t ceil_div(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

/// What the passes over `count` things or fewer take: all at once within the limit, at least one.
std::int64_t pass_bytes(std::int64_t max_bytes, std::int64_t count, std::int64_t bytes_of_one) {
  return std::min(count * bytes_of_one, std::max(max_bytes, bytes_of_one));
}

/// Leaves begin slices of their own.
std::int64_t most_slices(std::int64_t features) {
  return features / kInputGroupFeatures + 1 + kNumLeaves;
}

/// A row of quantised inputs.
std::int64_t quantised_row_bytes(DType activations, std::int64_t features) {
  return activations == DType::kF32 ? features * kFloat
                                    : code_row_bytes(features, most_slices(features));
}

/// What pads all of them: scales of up to three rows more, and the ends of pieces.
std::int64_t padding_bytes(std::int64_t features) {
  return most_slices(features) * 3 * kFloat + 2 * scratch_piece(1);
}

std::int64_t linear_bytes(const OpsLimits& limits) {
  const std::int64_t features = limits.quantised_features;
  if (features == 0) return 0;
  return pass_bytes(limits.passes.bytes, limits.max_rows,
                    quantised_row_bytes(limits.activations, features)) +
         padding_bytes(features);
}

std::int64_t absorbed_bytes(const OpsLimits& limits, std::int64_t num_splits) {
  const MlaShape& shape = limits.attention;
  const std::int64_t row_floats =
      shape.num_heads * (num_splits * (shape.kv_lora_rank + 2) + 2 * shape.kv_lora_rank);
  return pass_bytes(limits.passes.bytes, limits.max_rows, row_floats * kFloat);
}

std::int64_t expanded_bytes(const OpsLimits& limits, std::int64_t num_splits) {
  const MlaShape& shape = limits.attention;
  const std::int64_t position_bytes = (shape.qk_nope_head_dim + shape.v_head_dim) * kFloat;
  const std::int64_t keys =
      pass_bytes(limits.passes.bytes, shape.num_heads, limits.max_positions * position_bytes);
  // A shorter sequence has fewer splits, and keys of more heads fit into a pass.
  const std::int64_t positions_of_heads =
      std::max(limits.passes.bytes / position_bytes, limits.max_positions);
  const std::int64_t splits_of_heads = std::min(
      shape.num_heads * num_splits, shape.num_heads + positions_of_heads / kMinSplitPositions);
  const std::int64_t decoded =
      limits.fp8_cache ? decoded_latent_bytes(limits.max_positions, shape) : 0;
  return decoded + keys +
         pass_bytes(limits.passes.bytes, limits.max_rows,
                    splits_of_heads * (shape.v_head_dim + 2) * kFloat);
}

std::int64_t routing_bytes(const OpsLimits& limits) {
  return limits.max_rows * limits.n_routed_experts * kFloat;
}

std::int64_t experts_bytes(const OpsLimits& limits) {
  if (limits.n_routed_experts == 0) return 0;
  const std::int64_t inner = limits.moe_intermediate_size;
  const std::int64_t top_k = limits.num_experts_per_tok;
  const auto activated_bytes = inner * static_cast<std::int64_t>(size_of(limits.activations));
  std::int64_t row_bytes = top_k * ((limits.hidden_size + 1) * kFloat + activated_bytes);
  std::int64_t fixed_bytes = (limits.num_local_experts + 1) * kFloat + 4 * scratch_piece(1);
  if (limits.quantised_features > 0) {
    row_bytes += quantised_row_bytes(limits.activations, limits.hidden_size) +
                 top_k * quantised_row_bytes(limits.activations, inner);
    fixed_bytes += padding_bytes(limits.hidden_size) + padding_bytes(inner);
  }
  return pass_bytes(limits.passes.expert_bytes, limits.max_rows, row_bytes) + fixed_bytes;
}

}  // namespace

std::int64_t code_bytes(std::int64_t rows, std::int64_t features, std::int64_t num_slices) {
  return rows * code_stride(features) + scratch_piece(num_slices * scale_stride(rows) * kFloat);
}

std::int64_t float_bytes(std::int64_t rows, std::int64_t features) {
  return scratch_piece(rows * features * kFloat);
}

std::int64_t decoded_latent_bytes(std::int64_t num_positions, const MlaShape& shape) {
  constexpr std::int64_t kBFloat16 = 2;
  return scratch_piece(sizeof(std::int32_t)) +
         scratch_piece(num_positions * (shape.kv_lora_rank + shape.qk_rope_head_dim) * kBFloat16);
}

std::int64_t scratch_bytes(const OpsLimits& limits) {
  const std::int64_t num_splits = max_splits(limits.max_positions - 1);
  // Absorbed rows are launched for a power of two of splits.
  const auto launched_splits =
      static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(num_splits)));
  const std::int64_t check_bytes = limits.activations == DType::kBF16 ? kProductCheckBytes : 0;
  return std::max({check_bytes, absorbed_bytes(limits, launched_splits),
                   expanded_bytes(limits, num_splits), routing_bytes(limits), linear_bytes(limits),
                   experts_bytes(limits)});
}

CopySizes copy_sizes(const OpsLimits& limits) {
  return {limits.max_rows, limits.max_rows * ceil_div(limits.max_positions, limits.block_tokens),
          limits.num_local_experts, limits.num_expert_layers};
}

std::int64_t backend_bytes(const OpsLimits& limits) {
  const CopySizes copies = copy_sizes(limits);
  return scratch_bytes(limits) + copies.rows * kCopyBytesOfRow +
         limits.max_chosen_rows * (kChoiceResultBytes + kChoiceBytes) +
         copies.block_tables * static_cast<std::int64_t>(sizeof(std::int32_t)) +
         copies.expert_layers * copies.experts * static_cast<std::int64_t>(sizeof(ExpertWeights));
}

}  // namespace dsl::cuda
