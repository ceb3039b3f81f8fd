#include "engine/model/moe.h"

#include <fmt/format.h>

namespace dsl::model {
namespace {

std::int64_t bytes_of(const ExpertWeights& expert) {
  return expert.gate_proj.bytes() + expert.up_proj.bytes() + expert.down_proj.bytes();
}

}  // namespace

Result<Moe> Moe::load(const LayerSource& source, const std::string& prefix) {
  const auto& config = source.config;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t width = config.moe_intermediate_size;
  Moe result;
  result.routing_ = config.routing;
  DSL_ASSIGN(result.gate_, source.checkpoint.weight(prefix + "gate.weight",
                                                    config.routing.n_routed_experts, hidden));
  if (config.routing.topk_method == TopkMethod::kNoauxTc) {
    DSL_ASSIGN(result.e_score_correction_bias_,
               source.checkpoint.vector(prefix + "gate.e_score_correction_bias",
                                        config.routing.n_routed_experts));
  }

  result.experts_ = parallel::ExpertParallel(config.routing.n_routed_experts, source.tp);
  for (std::int64_t i = 0; i < result.experts_.num_local_experts(); ++i) {
    const auto expert_prefix =
        fmt::format("{}experts.{}.", prefix, result.experts_.first_expert() + i);
    DSL_ASSIGN(const WeightView gate,
               source.linear_weight(expert_prefix + "gate_proj.weight", width, hidden));
    DSL_ASSIGN(const WeightView up,
               source.linear_weight(expert_prefix + "up_proj.weight", width, hidden));
    DSL_ASSIGN(const WeightView down,
               source.linear_weight(expert_prefix + "down_proj.weight", hidden, width));
    result.experts_.add_expert({gate, up, down});
  }
  if (config.n_shared_experts > 0) {
    DSL_ASSIGN(result.shared_experts_,
               Mlp::load(source, prefix + "shared_experts.", config.n_shared_experts * width));
  }
  return result;
}

Result<MatrixView<float>> Moe::forward(const LayerContext& context, const Matrix& x) const {
  const Workspace& workspace = context.workspace;
  const Routing routing = workspace.routing(x.rows, context.layer);
  if (shared_experts_) {
    context.ops.route_beside(x, gate_, e_score_correction_bias_, routing_, routing,
                             shared_experts_->as_shared(workspace, x.rows));
  } else {
    context.ops.route(x, gate_, e_score_correction_bias_, routing_, routing);
    DSL_TRY(workspace.clear_leaf_sums(x.rows));
  }
  const MatrixView<float> update = workspace.update(x.rows);
  experts_.join(context.ops, x, routing, workspace.leaf_sums(x.rows), update);
  DSL_TRY(context.tp.all_reduce(update));
  return update;
}

void Moe::append_parameters(Parameters& parameters) {
  parameters.weights.push_back(&gate_);
  parameters.vectors.push_back(&e_score_correction_bias_);
  for (ExpertWeights& expert : experts_.mutable_experts()) {
    parameters.weights.insert(parameters.weights.end(),
                              {&expert.gate_proj, &expert.up_proj, &expert.down_proj});
  }
  if (shared_experts_) shared_experts_->append_parameters(parameters);
}

std::int64_t Moe::routed_bytes() const {
  std::int64_t bytes = 0;
  for (const ExpertWeights& expert : experts_.experts()) bytes += bytes_of(expert);
  return bytes;
}

std::int64_t Moe::routed_bytes_read(std::span<const std::int32_t> expert_ids) const {
  const auto experts = experts_.experts();
  std::vector<bool> is_read(experts.size());
  std::int64_t bytes = 0;
  for (const std::int32_t expert_id : expert_ids) {
    const std::int64_t local = expert_id - experts_.first_expert();
    const auto index = static_cast<std::size_t>(local);  // another shard's experts lie beyond
    if (index >= experts.size() || is_read[index]) continue;
    is_read[index] = true;
    bytes += bytes_of(experts[index]);
  }
  return bytes;
}

}  // namespace dsl::model
