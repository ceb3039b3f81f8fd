#include "engine/model/memory_plan.h"

#include <algorithm>
#include <utility>

#include "engine/model/latent_caches.h"
#include "engine/model/rope_table.h"
#include "engine/model/stage_modules.h"
#include "engine/model/workspace.h"

namespace dsl::model {

Result<MemoryPlanner> MemoryPlanner::make(const checkpoint::Checkpoint& checkpoint,
                                          const checkpoint::ModelConfig& config,
                                          const parallel::ParallelPlan& plan, int rank,
                                          const MemoryPlanOptions& options, OpsBytes ops_bytes) {
  DSL_TRY(check_cache(options.compute_dtype, options.fp8_cache));
  MemoryPlanner result;
  result.config_ = config;
  result.options_ = options;
  result.ops_bytes_ = std::move(ops_bytes);
  result.tp_ = parallel::TensorParallel::place(plan.shard_of(rank), plan.tp(), options.shard_link);
  const int stage = plan.stage_of(rank);
  const auto [first_layer, num_layers] = plan.stage(stage);
  result.num_layers_ = num_layers;
  for (std::int64_t layer = first_layer; layer < first_layer + num_layers; ++layer) {
    if (config.is_moe_layer(layer)) ++result.num_expert_layers_;
  }
  DSL_ASSIGN(
      StageModules modules,
      StageModules::load({checkpoint, config, result.tp_, options.fp8_activations}, plan, stage));
  const Parameters parameters = modules.parameters();
  result.fixed_.weights = placed_bytes(parameters);
  for (const WeightView* weight : parameters.weights) {
    if (!weight->quantised_inputs) continue;
    result.quantised_features_ = std::max(result.quantised_features_, weight->in_features);
  }
  result.fixed_.activations = Workspace::bytes(
      config, result.tp_, {options.max_rows, options.compute_dtype, result.num_layers_});
  const std::int64_t num_neighbours = (stage > 0 ? 1 : 0) + (stage + 1 < plan.pp() ? 1 : 0);
  result.fixed_.hops = num_neighbours * options.num_hop_steps * options.max_rows *
                       config.hidden_size *
                       static_cast<std::int64_t>(size_of(options.compute_dtype));
  if (modules.lm_head) {
    result.fixed_.logits =
        modules.lm_head->device_scratch_bytes(result.tp_, options.max_logits_rows);
  }
  return result;
}

std::int64_t MemoryPlanner::max_positions(std::int64_t num_blocks) const {
  return std::min(config_.max_position_embeddings, num_blocks * kBlockTokens);
}

OpsLimits MemoryPlanner::limits(std::int64_t num_blocks) const {
  OpsLimits limits;
  limits.max_rows = options_.max_rows;
  limits.max_positions = max_positions(num_blocks);
  limits.block_tokens = kBlockTokens;
  // Shard 0 has all logits, unless they are gathered on hosts.
  const bool chooses = fixed_.logits > 0 && tp_.shard() == 0 && !tp_.needs_host();
  limits.max_chosen_rows = chooses ? options_.max_logits_rows : 0;
  limits.activations = options_.compute_dtype;
  limits.fp8_cache = options_.fp8_cache;
  limits.quantised_features = quantised_features_;
  limits.hidden_size = config_.hidden_size;
  limits.attention = {tp_.count(config_.num_attention_heads),
                      config_.qk_nope_head_dim,
                      config_.qk_rope_head_dim,
                      config_.v_head_dim,
                      config_.kv_lora_rank,
                      static_cast<float>(config_.softmax_scale())};
  if (config_.has_routed_experts()) {
    limits.n_routed_experts = config_.routing.n_routed_experts;
    limits.num_local_experts = tp_.count(config_.routing.n_routed_experts);
    limits.num_expert_layers = num_expert_layers_;
    limits.num_experts_per_tok = config_.routing.num_experts_per_tok;
    limits.moe_intermediate_size = config_.moe_intermediate_size;
  }
  return limits;
}

MemoryPlan MemoryPlanner::with_blocks(std::int64_t num_blocks) const {
  MemoryPlan plan = fixed_;
  plan.cache =
      LatentCaches::bytes({num_layers_, num_blocks, config_.kv_lora_rank, config_.qk_rope_head_dim,
                           cache_dtype(options_.compute_dtype, options_.fp8_cache)});
  plan.rope_tables = RopeTables::bytes(config_, max_positions(num_blocks));
  plan.ops = ops_bytes_(limits(num_blocks));
  return plan;
}

std::int64_t MemoryPlanner::blocks_within(std::int64_t bytes, std::int64_t max_blocks) const {
  std::int64_t fits = 0;
  std::int64_t too_many = max_blocks + 1;
  while (too_many - fits > 1) {
    const std::int64_t middle = fits + (too_many - fits) / 2;
    (with_blocks(middle).total() <= bytes ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace dsl::model
