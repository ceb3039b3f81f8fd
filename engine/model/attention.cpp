#include "engine/model/attention.h"

namespace dsl::model {

using parallel::ColumnParallelLinear;
using parallel::RowParallelLinear;

Result<Attention> Attention::load(const LayerSource& source, const std::string& prefix) {
  const auto& config = source.config;
  const std::int64_t heads = config.num_attention_heads;
  const auto weight = [&](std::string_view name, std::int64_t out, std::int64_t in) {
    return source.linear_weight(prefix + std::string(name) + ".weight", out, in);
  };
  Attention result;
  result.shape_ = {source.tp.count(heads),  config.qk_nope_head_dim,
                   config.qk_rope_head_dim, config.v_head_dim,
                   config.kv_lora_rank,     static_cast<float>(config.softmax_scale())};
  result.rms_norm_eps_ = static_cast<float>(config.rms_norm_eps);

  const std::int64_t q_width = heads * config.qk_head_dim();
  if (config.q_lora_rank) {
    const std::int64_t rank = *config.q_lora_rank;
    DSL_ASSIGN(const WeightView q_a, weight("q_a_proj", rank, config.hidden_size));
    DSL_ASSIGN(const VectorView norm,
               source.checkpoint.vector(prefix + "q_a_layernorm.weight", rank));
    DSL_ASSIGN(const WeightView q_b, weight("q_b_proj", q_width, rank));
    result.q_lora_ = QueryLora{q_a, norm};
    result.q_proj_ = ColumnParallelLinear(q_b, source.tp);
  } else {
    DSL_ASSIGN(const WeightView q, weight("q_proj", q_width, config.hidden_size));
    result.q_proj_ = ColumnParallelLinear(q, source.tp);
  }

  const std::int64_t kv_width = config.kv_lora_rank + config.qk_rope_head_dim;
  const std::int64_t kv_b_width = heads * (config.qk_nope_head_dim + config.v_head_dim);
  DSL_ASSIGN(const WeightView kv_a, weight("kv_a_proj_with_mqa", kv_width, config.hidden_size));
  DSL_ASSIGN(result.kv_a_layernorm_,
             source.checkpoint.vector(prefix + "kv_a_layernorm.weight", config.kv_lora_rank));
  // Attention multiplies it in ways that have no input to quantise.
  DSL_ASSIGN(const WeightView kv_b, source.checkpoint.weight(prefix + "kv_b_proj.weight",
                                                             kv_b_width, config.kv_lora_rank));
  DSL_ASSIGN(const WeightView o, weight("o_proj", config.hidden_size, heads * config.v_head_dim));
  result.kv_a_proj_with_mqa_ = kv_a;
  result.kv_b_proj_ = ColumnParallelLinear(kv_b, source.tp);
  result.o_proj_ = RowParallelLinear(o, source.tp);
  return result;
}

void Attention::project(const LayerContext& context, const Matrix& x, const Matrix& q,
                        const Matrix& compressed_kv) const {
  const WeightView& kv_a = kv_a_proj_with_mqa_;
  if (!q_lora_) {
    context.ops.linear_pair(x, q_proj_.weight(), q, kv_a, compressed_kv);
    return;
  }
  const Matrix q_a = context.workspace.q_a(x.rows);
  context.ops.linear_pair(x, q_lora_->q_a_proj, q_a, kv_a, compressed_kv);
  context.ops.rms_norm(q_a, q_lora_->q_a_layernorm, rms_norm_eps_, q_a);
  q_proj_.forward(context.ops, q_a, q);
}

Result<MatrixView<float>> Attention::forward(const LayerContext& context, const StepBatch& batch,
                                             const LatentCache& cache, const Matrix& x) const {
  Ops& ops = context.ops;
  const Workspace& workspace = context.workspace;

  const Matrix q = workspace.q(x.rows);
  const Matrix compressed_kv = workspace.compressed_kv(x.rows);
  project(context, x, q, compressed_kv);
  ops.rope_and_store(q, shape_.num_heads, compressed_kv, kv_a_layernorm_, rms_norm_eps_,
                     batch.positions, context.rope, batch.slots, cache);

  const Matrix attn_output = workspace.attn_output(x.rows);
  ops.mla_attention(q, kv_b_proj_.weight(), cache, batch.segments, shape_, attn_output);
  const MatrixView<float> update = workspace.update(x.rows);
  DSL_TRY(o_proj_.forward(ops, context.tp, attn_output, update));
  return update;
}

void Attention::append_parameters(Parameters& parameters) {
  if (q_lora_) {
    parameters.weights.push_back(&q_lora_->q_a_proj);
    parameters.vectors.push_back(&q_lora_->q_a_layernorm);
  }
  parameters.weights.insert(parameters.weights.end(),
                            {q_proj_.mutable_weight(), &kv_a_proj_with_mqa_,
                             kv_b_proj_.mutable_weight(), o_proj_.mutable_weight()});
  parameters.vectors.push_back(&kv_a_layernorm_);
}

}  // namespace dsl::model
