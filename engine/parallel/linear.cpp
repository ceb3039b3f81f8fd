#include "engine/parallel/linear.h"

#include <algorithm>

#include "transport/base/bytes.h"

namespace dsl::parallel {
namespace {

WeightView row_shard(const WeightView& weight, const TensorParallel& tp) {
  return weight.rows_from(tp.first(weight.out_features), tp.count(weight.out_features));
}

Matrix as_matrix(MatrixView<float> view) {
  return {view.data, DType::kF32, view.rows, view.cols, view.row_stride};
}

}  // namespace

ColumnParallelLinear::ColumnParallelLinear(const WeightView& weight, const TensorParallel& tp)
    : weight_(row_shard(weight, tp)) {}

RowParallelLinear::RowParallelLinear(const WeightView& weight, const TensorParallel& tp)
    : weight_(weight.cols_from(tp.first(weight.in_features), tp.count(weight.in_features))),
      split_(tp.leaf_split(weight.in_features)) {}

Status RowParallelLinear::forward(Ops& ops, const TensorParallel& tp, const Matrix& x,
                                  MatrixView<float> out) const {
  ops.linear_tree(x, weight_, split_, out);
  return tp.all_reduce(out);
}

VocabParallelEmbedding::VocabParallelEmbedding(const WeightView& table, const TensorParallel& tp)
    : table_(row_shard(table, tp)), first_token_(tp.first(table.out_features)) {}

Status VocabParallelEmbedding::forward(Ops& ops, const TensorParallel& tp,
                                       std::span<const std::int32_t> token_ids,
                                       MatrixView<float> out) const {
  ops.embed(token_ids, table_, first_token_, as_matrix(out));
  return tp.all_reduce(out);
}

VocabParallelHead::VocabParallelHead(const WeightView& weight, const TensorParallel& tp)
    : weight_(row_shard(weight, tp)), vocab_size_(weight.out_features) {}

Result<VocabParallelHead::Scratch> VocabParallelHead::make_scratch(Memory& memory,
                                                                   std::int64_t rows) const {
  const auto bytes = [rows](std::int64_t cols) {
    return static_cast<std::size_t>(rows * cols) * sizeof(float);
  };
  const std::int64_t local = weight_.out_features;
  Scratch scratch;
  if (!memory.is_host()) {
    const auto computed = static_cast<std::size_t>(device_scratch_bytes(rows));
    DSL_ASSIGN(scratch.computed, Buffer::allocate(memory, computed, "logits"));
  }
  if (local != vocab_size_) {
    DSL_ASSIGN(scratch.mine, Buffer::allocate(host_memory(), bytes(local), "logits"));
    DSL_ASSIGN(scratch.gathered,
               Buffer::allocate(host_memory(), bytes(vocab_size_), "gathered logits"));
  }
  return scratch;
}

Result<MatrixView<float>> VocabParallelHead::forward(Ops& ops, Memory& memory,
                                                     const TensorParallel& tp, const Matrix& x,
                                                     const Scratch& scratch,
                                                     MatrixView<float> host_logits) const {
  const std::int64_t local = weight_.out_features;
  const std::span<float> mine(tp.shards() == 1 ? host_logits.data : scratch.mine.as<float>(),
                              static_cast<std::size_t>(x.rows * local));
  float* data = memory.is_host() ? mine.data() : scratch.computed.as<float>();
  const MatrixView<float> computed{data, x.rows, local, local};
  ops.linear(x, weight_, as_matrix(computed));
  if (tp.shards() == 1) return computed;
  if (!memory.is_host()) DSL_TRY(memory.read(mine.data(), computed.data, mine.size_bytes()));
  const std::span<float> all(scratch.gathered.as<float>(),
                             static_cast<std::size_t>(x.rows * vocab_size_));
  DSL_TRY(tp.all_gather(std::as_bytes(mine), std::as_writable_bytes(all)));
  // The gather is shard-major; a row of logits takes a piece of every shard.
  for (std::int64_t row = 0; row < x.rows; ++row) {
    for (int shard = 0; shard < tp.shards(); ++shard) {
      const float* piece = all.data() + (shard * x.rows + row) * local;
      std::copy_n(piece, local, host_logits.row(row) + shard * local);
    }
  }
  return host_logits;
}

ExpertParallel::ExpertParallel(std::int64_t n_routed_experts, const TensorParallel& tp)
    : split_(tp.leaf_split(n_routed_experts)),
      first_expert_(tp.first(n_routed_experts)),
      num_local_experts_(tp.count(n_routed_experts)) {}

}  // namespace dsl::parallel
