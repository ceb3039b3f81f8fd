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

Matrix Mlp::activate(const LayerContext& context, const Matrix& x) const {
  const std::int64_t width = gate_proj_.local_out_features();
  const Matrix gate = context.workspace.gate(x.rows, width);
  const Matrix up = context.workspace.up(x.rows, width);
  const Matrix activated = context.workspace.activated(x.rows, width);
  context.ops.gated_linear(x, gate_proj_.weight(), up_proj_.weight(), gate, up, activated);
  return activated;
}

Result<MatrixView<float>> Mlp::forward(const LayerContext& context, const Matrix& x) const {
  const MatrixView<float> update = context.workspace.update(x.rows);
  DSL_TRY(down_proj_.forward(context.ops, context.tp, activate(context, x), update));
  return update;
}

void Mlp::leaves(const LayerContext& context, const Matrix& x, const LeafSums& sums) const {
  down_proj_.leaves(context.ops, activate(context, x), sums);
}

void Mlp::append_parameters(Parameters& parameters) {
  parameters.weights.insert(
      parameters.weights.end(),
      {gate_proj_.mutable_weight(), up_proj_.mutable_weight(), down_proj_.mutable_weight()});
}

}  // namespace dsl::model
