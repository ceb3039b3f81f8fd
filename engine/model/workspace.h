// Every activation buffer of a stage, allocated once for the largest step.
#pragma once

#include <cstdint>

#include "engine/checkpoint/model_config.h"
#include "engine/kernels/ops.h"
#include "engine/parallel/tensor_parallel.h"
#include "engine/runtime/memory.h"

namespace dsl::model {

/// Owns the buffers; the accessors give views of the first `rows` rows, contiguous. Names as in the
/// reference model.
class Workspace {
 public:
  struct Shape {
    std::int64_t max_rows = 0;
    DType dtype = DType::kBF16;  // of activations
    std::int64_t num_layers = 1;
  };

  static Result<Workspace> make(Memory& memory, const checkpoint::ModelConfig& config,
                                const parallel::TensorParallel& tp, const Shape& shape);

  /// What make() allocates.
  static std::int64_t bytes(const checkpoint::ModelConfig& config,
                            const parallel::TensorParallel& tp, const Shape& shape);

  std::int64_t max_rows() const { return shape_.max_rows; }
  DType dtype() const { return shape_.dtype; }
  Memory& memory() const { return *memory_; }

  Matrix hidden_states(std::int64_t rows) const;  // [rows, hidden_size], the residual stream
  Matrix normed(std::int64_t rows) const;         // [rows, hidden_size]
  Matrix q_a(std::int64_t rows) const;            // [rows, q_lora_rank]
  Matrix q(std::int64_t rows) const;              // [rows, local heads * qk_head_dim]
  Matrix compressed_kv(std::int64_t rows) const;  // [rows, kv_lora_rank + qk_rope_head_dim]
  Matrix attn_output(std::int64_t rows) const;    // [rows, local heads * v_head_dim]
  /// [rows, width]; width is at most the widest local MLP.
  Matrix gate(std::int64_t rows, std::int64_t width) const;
  Matrix up(std::int64_t rows, std::int64_t width) const;
  Matrix activated(std::int64_t rows, std::int64_t width) const;
  /// [rows, hidden_size] float32: what a sublayer adds to the residual stream.
  MatrixView<float> update(std::int64_t rows) const;
  /// [local leaves, rows, hidden_size] float32, of a layer's experts.
  LeafSums leaf_sums(std::int64_t rows) const;
  Status clear_leaf_sums(std::int64_t rows) const;
  /// Expert ids stay until the next step: those of all layers [layer, rows, num_experts_per_tok]
  /// lie together. Weights are of one layer.
  Routing routing(std::int64_t rows, std::int64_t layer) const;

 private:
  /// Columns of each buffer and where it begins in the allocation.
  struct Region {
    std::int64_t cols = 0;
    std::size_t offset = 0;
  };

  Workspace() = default;
  /// Places the buffers one behind the other and returns where the last one ends.
  std::size_t lay_out(const checkpoint::ModelConfig& config, const parallel::TensorParallel& tp,
                      const Shape& shape);
  Matrix matrix(const Region& region, std::int64_t rows, std::int64_t cols) const;

  Memory* memory_ = nullptr;
  Shape shape_;
  Buffer buffer_;
  int num_leaves_ = 0;
  Region hidden_states_, normed_, q_a_, q_, compressed_kv_, attn_output_, gate_, up_, activated_;
  Region update_, leaf_sums_, expert_ids_, expert_weights_;
};

}  // namespace dsl::model
