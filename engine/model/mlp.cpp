#include "engine/model/mlp.h"

namespace dsl::model {

using parallel::ColumnParallelLinear;
using parallel::RowParallelLinear;

Result<Mlp> Mlp::load(const LayerSource& source, const std::string& prefix,
                      std::int64_t intermediate_size) {
  const std::int64_t hidden = source.config.hidden_size;
  DSL_ASSIGN(const WeightView gate,
             source.linear_weight(prefix + "gate_proj.weight", intermediate_size, hidden));
  DSL_ASSIGN(const WeightView up,
             source.linear_weight(prefix + "up_proj.weight", intermediate_size, hidden));
  DSL_ASSIGN(const WeightView down,
             source.linear_weight(prefix + "down_proj.weight", hidden, intermediate_size));
  Mlp result;
  result.gate_proj_ = ColumnParallelLinear(gate, source.tp);
  result.up_proj_ = ColumnParallelLinear(up, source.tp);
  result.down_proj_ = RowParallelLinear(down, source.tp);
  return result;
}

Result<MatrixView<float>> Mlp::forward(const LayerContext& context, const Matrix& x) const {
  const Workspace& workspace = context.workspace;
  const std::int64_t width = gate_proj_.local_out_features();
  const Matrix activated = workspace.activated(x.rows, width);
  context.ops.gated_linear(x, gate_proj_.weight(), up_proj_.weight(), workspace.gate(x.rows, width),
                           workspace.up(x.rows, width), activated);
  const MatrixView<float> update = workspace.update(x.rows);
  DSL_TRY(down_proj_.forward(context.ops, context.tp, activated, update));
  return update;
}

SharedExperts Mlp::as_shared(const Workspace& workspace, std::int64_t rows) const {
  const std::int64_t width = gate_proj_.local_out_features();
  return {{gate_proj_.weight(), up_proj_.weight(), down_proj_.weight()},
          down_proj_.split(),
          workspace.gate(rows, width),
          workspace.up(rows, width),
          workspace.activated(rows, width),
          workspace.leaf_sums(rows)};
}

void Mlp::append_parameters(Parameters& parameters) {
  parameters.weights.insert(
      parameters.weights.end(),
      {gate_proj_.mutable_weight(), up_proj_.mutable_weight(), down_proj_.mutable_weight()});
}

}  // namespace dsl::model
