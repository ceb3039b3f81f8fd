// What ops take beside matrices and weights.
#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor/views.h"

namespace dsl {

/// Leaves of every split sum: the largest tensor-parallel degree. A power of two.
inline constexpr int kNumLeaves = 8;

/// The leaves of a reduction over `size` elements (features or experts) that a shard owns: global
/// leaf i covers [size*i/kNumLeaves, size*(i+1)/kNumLeaves). A shard of `shards` owns
/// kNumLeaves/shards consecutive leaves.
struct LeafSplit {
  std::int64_t size = 0;  // of the whole reduction, over all shards
  int shard = 0;
  int shards = 1;  // 1, 2, 4 or 8; must divide size

  int num_leaves() const { return kNumLeaves / shards; }
  /// Begin of local leaf i in local coordinates (0 is the shard's first element); i may be
  /// num_leaves().
  std::int64_t begin(int i) const {
    const std::int64_t first = std::int64_t{shard} * num_leaves();
    return size * (first + i) / kNumLeaves - size * first / kNumLeaves;
  }
  std::int64_t local_size() const { return size / shards; }
};

/// Per-leaf float32 accumulators [num_leaves, rows, cols], row-major, of a layer's expert sum.
/// Non-owning.
struct LeafSums {
  float* data = nullptr;
  int num_leaves = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  float* leaf(int i) const { return data + std::int64_t{i} * rows * cols; }
};

/// Rotary tables for positions [0, max_positions): cos and sin of every pair, float32
/// [max_positions, rope_dim/2].
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
  std::int64_t max_positions = 0;
  std::int64_t rope_dim = 0;
};

/// One layer's paged cache of MLA latents: num_blocks * block_tokens rows; a row is the normed
/// latent followed by the roped shared key, as latent_layout.h says.
struct LatentCache {
  void* data = nullptr;
  DType dtype = DType::kBF16;  // that of activations, or kF8E4M3 beside BF16
  std::int64_t num_blocks = 0;
  std::int64_t block_tokens = 0;
  std::int64_t kv_lora_rank = 0;
  std::int64_t rope_dim = 0;
};

/// How attention of a token is computed. Both are equal in exact arithmetic but round differently,
/// so the form belongs to the token (prompt tokens expanded, generated tokens absorbed) and not to
/// the batch it happens to be in.
enum class MlaForm : std::uint8_t { kExpanded, kAbsorbed };

/// Consecutive tokens of one sequence inside a step. Row i of the segment has position
/// first_position + i and attends to cached positions [0, first_position + i].
struct AttentionSegment {
  std::int64_t first_row = 0;  // in the step's activation matrix
  std::int64_t num_rows = 0;
  std::int64_t first_position = 0;
  MlaForm form = MlaForm::kExpanded;
  std::span<const std::int32_t>
      block_table;  // cache block of positions [k*block_tokens, (k+1)*block_tokens)
};

struct MlaShape {
  std::int64_t num_heads = 0;  // of this shard
  std::int64_t qk_nope_head_dim = 0;
  std::int64_t qk_rope_head_dim = 0;
  std::int64_t v_head_dim = 0;
  std::int64_t kv_lora_rank = 0;
  float softmax_scale = 0;  // YaRN's mscale^2 included
};

enum class ScoringFunc : std::uint8_t { kSoftmax, kSigmoid };
enum class TopkMethod : std::uint8_t { kGreedy, kGroupLimitedGreedy, kNoauxTc };

/// Routing as config.json states it (docs/numerics.md has the formulas). Ties take the lower index.
struct RoutingConfig {
  ScoringFunc scoring_func = ScoringFunc::kSigmoid;
  TopkMethod topk_method = TopkMethod::kNoauxTc;
  std::int64_t n_routed_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t n_group = 1;
  std::int64_t topk_group = 1;
  bool norm_topk_prob = false;
  float routed_scaling_factor = 1;
};

/// Chosen experts of every row, sorted by ascending expert index, and their weights: [rows,
/// num_experts_per_tok].
struct Routing {
  std::int32_t* expert_ids = nullptr;
  float* weights = nullptr;
  std::int64_t rows = 0;
  std::int64_t num_experts_per_tok = 0;
};

/// The rows of a step as its ops are called with them. Non-owning.
struct StepInputs {
  std::span<const std::int32_t> positions;
  std::span<const std::int64_t> slots;
  std::span<const AttentionSegment> segments;
};

/// How many steps' layers a backend computed, and how.
struct StepCounts {
  std::int64_t called = 0;    // op by op
  std::int64_t repeated = 0;  // as the recording of an earlier step
};

struct ExpertWeights {
  WeightView gate_proj;  // [moe_intermediate_size, hidden_size]
  WeightView up_proj;    // [moe_intermediate_size, hidden_size]
  WeightView down_proj;  // [hidden_size, moe_intermediate_size]
};

/// A shard's part of the shared experts of a layer, and where it leaves what.
struct SharedExperts {
  ExpertWeights weights;
  LeafSplit split;  // of their intermediate features
  Matrix gate;      // as gated_linear() takes them
  Matrix up;
  Matrix activated;
  LeafSums sums;
};

}  // namespace dsl
