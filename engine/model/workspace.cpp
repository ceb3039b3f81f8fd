#include "engine/model/workspace.h"

#include <algorithm>

namespace dsl::model {
namespace {

constexpr std::size_t kAlignment = 64;

}  // namespace

Result<Workspace> Workspace::make(Memory& memory, const checkpoint::ModelConfig& config,
                                  const parallel::TensorParallel& tp, const Shape& shape) {
  Workspace result;
  result.memory_ = &memory;
  const std::size_t total = result.lay_out(config, tp, shape);
  DSL_ASSIGN(result.buffer_, Buffer::allocate(memory, total, "activations"));
  return result;
}

std::int64_t Workspace::bytes(const checkpoint::ModelConfig& config,
                              const parallel::TensorParallel& tp, const Shape& shape) {
  return static_cast<std::int64_t>(Workspace().lay_out(config, tp, shape));
}

std::size_t Workspace::lay_out(const checkpoint::ModelConfig& config,
                               const parallel::TensorParallel& tp, const Shape& shape) {
  shape_ = shape;
  num_leaves_ = tp.leaf_split(config.hidden_size).num_leaves();
  std::size_t total = 0;
  const auto place = [&](Region& region, std::int64_t cols, std::size_t element_size,
                         std::int64_t copies = 1) {
    region = {cols, total};
    const auto bytes = static_cast<std::size_t>(shape.max_rows * cols * copies) * element_size;
    total += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  const std::size_t element = size_of(shape.dtype);
  const std::int64_t local_heads = tp.count(config.num_attention_heads);
  const std::int64_t widest_mlp = tp.count(
      std::max(config.intermediate_size, config.n_shared_experts * config.moe_intermediate_size));
  place(hidden_states_, config.hidden_size, element);
  place(normed_, config.hidden_size, element);
  place(q_a_, config.q_lora_rank.value_or(0), element);
  place(q_, local_heads * config.qk_head_dim(), element);
  place(compressed_kv_, config.kv_lora_rank + config.qk_rope_head_dim, element);
  place(attn_output_, local_heads * config.v_head_dim, element);
  place(gate_, widest_mlp, element);
  place(up_, widest_mlp, element);
  place(activated_, widest_mlp, element);
  place(update_, config.hidden_size, sizeof(float));
  place(leaf_sums_, config.hidden_size, sizeof(float), num_leaves_);
  place(expert_ids_, config.routing.num_experts_per_tok, sizeof(std::int32_t), shape.num_layers);
  place(expert_weights_, config.routing.num_experts_per_tok, sizeof(float));
  return total;
}

Matrix Workspace::matrix(const Region& region, std::int64_t rows, std::int64_t cols) const {
  DSL_CHECK(rows <= shape_.max_rows && cols <= region.cols, "{} x {} of at most {} x {}", rows,
            cols, shape_.max_rows, region.cols);
  return {buffer_.as<std::byte>() + region.offset, shape_.dtype, rows, cols, cols};
}

Matrix Workspace::hidden_states(std::int64_t rows) const {
  return matrix(hidden_states_, rows, hidden_states_.cols);
}
Matrix Workspace::normed(std::int64_t rows) const { return matrix(normed_, rows, normed_.cols); }
Matrix Workspace::q_a(std::int64_t rows) const { return matrix(q_a_, rows, q_a_.cols); }
Matrix Workspace::q(std::int64_t rows) const { return matrix(q_, rows, q_.cols); }
Matrix Workspace::compressed_kv(std::int64_t rows) const {
  return matrix(compressed_kv_, rows, compressed_kv_.cols);
}
Matrix Workspace::attn_output(std::int64_t rows) const {
  return matrix(attn_output_, rows, attn_output_.cols);
}
Matrix Workspace::gate(std::int64_t rows, std::int64_t width) const {
  return matrix(gate_, rows, width);
}
Matrix Workspace::up(std::int64_t rows, std::int64_t width) const {
  return matrix(up_, rows, width);
}
Matrix Workspace::activated(std::int64_t rows, std::int64_t width) const {
  return matrix(activated_, rows, width);
}

MatrixView<float> Workspace::update(std::int64_t rows) const {
  return {reinterpret_cast<float*>(buffer_.as<std::byte>() + update_.offset), rows, update_.cols,
          update_.cols};
}

LeafSums Workspace::leaf_sums(std::int64_t rows) const {
  return {reinterpret_cast<float*>(buffer_.as<std::byte>() + leaf_sums_.offset), num_leaves_, rows,
          leaf_sums_.cols};
}

Status Workspace::clear_leaf_sums(std::int64_t rows) const {
  const LeafSums sums = leaf_sums(rows);
  return memory_->zero(
      sums.data, static_cast<std::size_t>(sums.num_leaves * rows * sums.cols) * sizeof(float));
}

Routing Workspace::routing(std::int64_t rows, std::int64_t layer) const {
  DSL_CHECK(rows <= shape_.max_rows && layer < shape_.num_layers, "rows {}, layer {} of {} and {}",
            rows, layer, shape_.max_rows, shape_.num_layers);
  std::byte* const base = buffer_.as<std::byte>();
  return {
      reinterpret_cast<std::int32_t*>(base + expert_ids_.offset) + layer * rows * expert_ids_.cols,
      reinterpret_cast<float*>(base + expert_weights_.offset), rows, expert_ids_.cols};
}

}  // namespace dsl::model
