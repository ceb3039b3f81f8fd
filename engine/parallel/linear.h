// Linear layers that own the arithmetic of their split over a tensor-parallel group; model code
// knows no shards. A weight's view may be pointed to a copy of this shard (mutable_weight()).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels/ops.h"
#include "engine/parallel/tensor_parallel.h"
#include "engine/runtime/memory.h"

namespace dsl::parallel {

/// Output features are split: this shard computes a contiguous range of them, so there is no sum to
/// join.
class ColumnParallelLinear {
 public:
  ColumnParallelLinear() = default;
  /// `weight` is the whole layer's; tp's shards divide its output features.
  ColumnParallelLinear(const WeightView& weight, const TensorParallel& tp);

  const WeightView& weight() const { return weight_; }
  WeightView* mutable_weight() { return &weight_; }
  std::int64_t local_out_features() const { return weight_.out_features; }
  /// x [rows, in_features] -> out [rows, local_out_features]
  void forward(Ops& ops, const Matrix& x, const Matrix& out) const { ops.linear(x, weight_, out); }

 private:
  WeightView weight_;
};

/// Input features are split: every shard computes a subtree of each output's sum, and the group
/// joins the subtrees.
class RowParallelLinear {
 public:
  RowParallelLinear() = default;
  /// `weight` is the whole layer's; tp's shards divide its input features.
  RowParallelLinear(const WeightView& weight, const TensorParallel& tp);

  const WeightView& weight() const { return weight_; }
  WeightView* mutable_weight() { return &weight_; }
  const LeafSplit& split() const { return split_; }
  std::int64_t local_in_features() const { return weight_.in_features; }
  /// x [rows, local_in_features] -> out [rows, out_features], complete on every shard.
  Status forward(Ops& ops, const TensorParallel& tp, const Matrix& x, MatrixView<float> out) const;

 private:
  WeightView weight_;
  LeafSplit split_;
};

/// Rows of the embedding table are split by token id.
class VocabParallelEmbedding {
 public:
  VocabParallelEmbedding() = default;
  /// `table` is the whole [vocab_size, hidden_size].
  VocabParallelEmbedding(const WeightView& table, const TensorParallel& tp);

  const WeightView& weight() const { return table_; }
  WeightView* mutable_weight() { return &table_; }
  /// out [token_ids.size(), hidden_size], complete on every shard. One shard has the row and the
  /// others add zeros, so the sum is exact.
  Status forward(Ops& ops, const TensorParallel& tp, std::span<const std::int32_t> token_ids,
                 MatrixView<float> out) const;

 private:
  WeightView table_;
  std::int64_t first_token_ = 0;
};

/// The language-model head, split by token id. Over the hosts every shard gets all logits, over
/// devices shard 0 alone, which samples.
class VocabParallelHead {
 public:
  VocabParallelHead() = default;
  /// `weight` is the whole [vocab_size, hidden_size].
  VocabParallelHead(const WeightView& weight, const TensorParallel& tp);

  const WeightView& weight() const { return weight_; }
  WeightView* mutable_weight() { return &weight_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  /// Buffers of forward() for up to `rows` rows; the ops work on `memory`.
  struct Scratch {
    // Where the host does not reach the ops' memory, in that: this shard's logits, on shard 0
    // followed by the others', where these come from their devices.
    Buffer computed;
    Buffer joined;    // likewise, on shard 0: rows of all shards' logits, where there are several
    Buffer mine;      // on the host: this shard's logits, where they are gathered over hosts
    Buffer gathered;  // likewise: all shards' logits
  };
  /// What make_scratch() allocates of a memory that the host does not reach.
  std::int64_t device_scratch_bytes(const TensorParallel& tp, std::int64_t rows) const;
  Result<Scratch> make_scratch(Memory& memory, const TensorParallel& tp, std::int64_t rows) const;
  /// Whether forward() leaves the logits in `memory`, which the host does not reach.
  static bool leaves_on_device(const Memory& memory, const TensorParallel& tp) {
    return !memory.is_host() && !tp.needs_host();
  }
  /// x [rows, hidden_size] -> all logits [rows, vocab_size], contiguous: in `host_logits`, or on
  /// the device; there, nothing on other shards than 0.
  Result<MatrixView<float>> forward(Ops& ops, Memory& memory, const TensorParallel& tp,
                                    const Matrix& x, const Scratch& scratch,
                                    MatrixView<float> host_logits) const;

 private:
  Result<MatrixView<float>> forward_on_device(Ops& ops, Memory& memory, const TensorParallel& tp,
                                              const Matrix& x, const Scratch& scratch) const;
  /// Logits of `rows` rows that the devices of all shards send to this one.
  std::int64_t gathered_on_device(const TensorParallel& tp, std::int64_t rows) const;

  WeightView weight_;
  std::int64_t vocab_size_ = 0;
};

/// Routed experts, spread over the shards in contiguous ranges; leaf i of the sum holds experts
/// [E*i/8, E*(i+1)/8).
class ExpertParallel {
 public:
  ExpertParallel() = default;
  /// `n_routed_experts` counts all shards' experts; tp's shards divide it.
  ExpertParallel(std::int64_t n_routed_experts, const TensorParallel& tp);

  std::int64_t first_expert() const { return first_expert_; }
  std::int64_t num_local_experts() const { return num_local_experts_; }
  /// Appends the next expert of this shard, in ascending order.
  void add_expert(const ExpertWeights& expert) { experts_.push_back(expert); }
  std::span<const ExpertWeights> experts() const { return experts_; }
  std::span<ExpertWeights> mutable_experts() { return experts_; }

  /// Adds the weighted outputs of this shard's experts to its leaves and joins these in `out`,
  /// which the caller reduces.
  void join(Ops& ops, const Matrix& x, const Routing& routing, const LeafSums& sums,
            MatrixView<float> out) const {
    ops.routed_experts(x, routing, experts_, split_, sums, out);
  }

 private:
  std::vector<ExpertWeights> experts_;
  LeafSplit split_;
  std::int64_t first_expert_ = 0;
  std::int64_t num_local_experts_ = 0;
};

}  // namespace dsl::parallel
