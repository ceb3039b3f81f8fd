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

/// A gather is shard-major; a row of logits takes a piece of every shard.
Status join_rows(Memory& memory, const float* gathered, int shards, MatrixView<float> logits) {
  const std::int64_t local = logits.cols / shards;
  const auto bytes = [](std::int64_t values) {
    return static_cast<std::size_t>(values) * sizeof(float);
  };
  for (int shard = 0; shard < shards; ++shard) {
    DSL_TRY(memory.copy_rows({logits.data + shard * local, bytes(logits.row_stride),
                              gathered + shard * logits.rows * local, bytes(local), bytes(local),
                              static_cast<std::size_t>(logits.rows)}));
  }
  return {};
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

std::int64_t VocabParallelHead::gathered_on_device(const TensorParallel& tp,
                                                   std::int64_t rows) const {
  const bool gathers = tp.shards() > 1 && tp.shard() == 0 && !tp.needs_host();
  return gathers ? rows * vocab_size_ : 0;
}

std::int64_t VocabParallelHead::device_scratch_bytes(const TensorParallel& tp,
                                                     std::int64_t rows) const {
  const std::int64_t gathered = gathered_on_device(tp, rows);
  const std::int64_t computed = std::max(rows * weight_.out_features, gathered);
  // A single row is joined as it comes.
  const std::int64_t joined = rows > 1 ? gathered : 0;
  return (computed + joined) * static_cast<std::int64_t>(sizeof(float));
}

Result<VocabParallelHead::Scratch> VocabParallelHead::make_scratch(Memory& memory,
                                                                   const TensorParallel& tp,
                                                                   std::int64_t rows) const {
  const auto bytes = [](std::int64_t values) {
    return static_cast<std::size_t>(values) * sizeof(float);
  };
  const std::int64_t local = rows * weight_.out_features;
  Scratch scratch;
  if (!memory.is_host()) {
    const std::int64_t gathered = gathered_on_device(tp, rows);
    DSL_ASSIGN(scratch.computed,
               Buffer::allocate(memory, bytes(std::max(local, gathered)), "logits"));
    if (gathered > 0 && rows > 1) {
      DSL_ASSIGN(scratch.joined, Buffer::allocate(memory, bytes(gathered), "joined logits"));
    }
  }
  if (tp.needs_host()) {
    DSL_ASSIGN(scratch.mine, Buffer::allocate(host_memory(), bytes(local), "logits"));
    DSL_ASSIGN(scratch.gathered,
               Buffer::allocate(host_memory(), bytes(rows * vocab_size_), "gathered logits"));
  }
  return scratch;
}

Result<MatrixView<float>> VocabParallelHead::forward(Ops& ops, Memory& memory,
                                                     const TensorParallel& tp, const Matrix& x,
                                                     const Scratch& scratch,
                                                     MatrixView<float> host_logits) const {
  if (leaves_on_device(memory, tp)) return forward_on_device(ops, memory, tp, x, scratch);
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
  DSL_TRY(join_rows(host_memory(), all.data(), tp.shards(), host_logits));
  return host_logits;
}

Result<MatrixView<float>> VocabParallelHead::forward_on_device(Ops& ops, Memory& memory,
                                                               const TensorParallel& tp,
                                                               const Matrix& x,
                                                               const Scratch& scratch) const {
  const std::int64_t local = weight_.out_features;
  float* const computed = scratch.computed.as<float>();
  const MatrixView<float> mine{computed, x.rows, local, local};
  ops.linear(x, weight_, as_matrix(mine));
  if (tp.shards() == 1) return mine;
  const auto count = static_cast<std::size_t>(x.rows * local);
  if (tp.shard() != 0) {
    DSL_TRY(tp.gather({computed, count}, {}));
    return MatrixView<float>{};
  }
  const std::span<float> all(computed, static_cast<std::size_t>(x.rows * vocab_size_));
  DSL_TRY(tp.gather(all.first(count), all.subspan(count)));
  if (x.rows == 1) return MatrixView<float>{computed, 1, vocab_size_, vocab_size_};
  const MatrixView<float> joined{scratch.joined.as<float>(), x.rows, vocab_size_, vocab_size_};
  DSL_TRY(join_rows(memory, all.data(), tp.shards(), joined));
  return joined;
}

ExpertParallel::ExpertParallel(std::int64_t n_routed_experts, const TensorParallel& tp)
    : split_(tp.leaf_split(n_routed_experts)),
      first_expert_(tp.first(n_routed_experts)),
      num_local_experts_(tp.count(n_routed_experts)) {}

}  // namespace dsl::parallel
