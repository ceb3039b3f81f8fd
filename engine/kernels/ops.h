// The operations a backend implements; the model is written against them and knows no device.
//
// Exactness contract, the same for every backend and kernel variant:
//  1. Row invariance: what an op writes for one row (token) depends on that row's inputs alone,
//     never on how many rows are in the call, where the row stands among them, or how many threads
//     run.
//  2. Shard invariance: an output feature of linear() does not depend on which other features are
//     in the view.
//  3. Leaf trees: a sum that tensor parallelism splits is a balanced binary tree over kNumLeaves
//     leaves with fixed boundaries (LeafSplit). A rank owns a whole subtree, so the joined result
//     has the bits of one process.
//  4. Where a weight has `quantised_inputs`, linear(), linear_pair(), linear_tree(),
//     linear_leaves(), gated_linear() and routed_experts() (before both products) take for their
//     rows what quantise_inputs() makes of them; codes and scales are the same on every backend.
// Accumulation is float32. Outputs are rounded once, to the dtype of the output view.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "engine/kernels/operands.h"
#include "engine/tensor/views.h"

namespace dsl {

struct OpsLimits;  // ops_limits.h

/// A backend. Views point to its device's memory; ops run in call order. Thread-compatible.
class Ops {
 public:
  virtual ~Ops() = default;

  /// "scalar", "avx2", "avx512", "avx512_bf16", "cuda", ...
  virtual std::string_view name() const = 0;

  /// As what codes of weights and of their quantised inputs are multiplied: "float32", "bf16" or
  /// "fp8".
  virtual std::string_view fp8_products() const { return "float32"; }

  /// By what many rows in BF16 are multiplied with weights in BF16: on a GPU "wgmma" or "mma.sync",
  /// which is slower on Hopper, whatever the bits are the same; elsewhere the kernels' name. Of a
  /// GPU known once reserve() has compared the two.
  virtual std::string_view bf16_products() const { return name(); }
  /// The same of attention: of prompts, and of generated tokens where a rank has more than 32 heads
  /// and a batch is large.
  virtual std::string_view attention_products() const { return name(); }

  /// Returns when all that was called is computed. A device's failure comes out here; the CPU has
  /// none.
  virtual Status finish() { return {}; }

  /// Computes the layers of a step. `work` calls their ops with these inputs and, but for
  /// operations in order with them, nothing else: a device may record the calls and repeat them for
  /// a later step of the same shape without calling `work`, whose other arguments must then be the
  /// same.
  virtual Status run_step(const StepInputs& /*inputs*/, const std::function<Status()>& work) {
    return work();
  }
  /// Of run_step().
  virtual StepCounts step_counts() const { return {}; }

  /// To be called first by every thread that calls ops.
  virtual Status enter_thread() { return {}; }
  /// Memory that the ops take for themselves beside what they are given: what calls within `limits`
  /// need, taken at once by reserve(), and what they hold. Calls beyond the limits take more.
  virtual std::int64_t needed_bytes(const OpsLimits&) const { return 0; }
  virtual Status reserve(const OpsLimits&) { return {}; }
  virtual std::int64_t held_bytes() const { return 0; }

  /// out[i, :] = table[token_ids[i] - first_token, :], or zeros when this vocabulary shard lacks
  /// the token.
  virtual void embed(std::span<const std::int32_t> token_ids, const WeightView& table,
                     std::int64_t first_token, const Matrix& out) = 0;

  /// out = x / sqrt(mean(x^2) + eps) * weight, statistics in float32. out may be x.
  virtual void rms_norm(const Matrix& x, const VectorView& weight, float eps,
                        const Matrix& out) = 0;

  /// out[m, n] = sum_k x[m, k] * w[n, k]. out is float32 or the activation dtype.
  virtual void linear(const Matrix& x, const WeightView& w, const Matrix& out) = 0;

  /// linear() of the same rows by two layers: the bits of both calls.
  virtual void linear_pair(const Matrix& x, const WeightView& w, const Matrix& out,
                           const WeightView& other_w, const Matrix& other_out) {
    linear(x, w, out);
    linear(x, other_w, other_out);
  }

  /// A row-parallel linear: x and w hold this shard's input features. out[m, n] = the shard's
  /// subtree sum, float32.
  virtual void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                           MatrixView<float> out) = 0;

  /// sums.leaf(i)[m, n] = leaf i of linear_tree()'s sum.
  virtual void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                             const LeafSums& sums) = 0;

  /// residual += update, in float32, rounded once to the dtype of residual.
  virtual void add(const Matrix& residual, MatrixView<const float> update) = 0;

  /// add(), and out = rms_norm() of the new residual: the bits of both calls.
  virtual void add_rms_norm(const Matrix& residual, MatrixView<const float> update,
                            const VectorView& weight, float eps, const Matrix& out) {
    add(residual, update);
    rms_norm(residual, weight, eps, out);
  }

  /// Rotates pairs (2i, 2i+1) of the last rope_dim columns of each of num_heads groups of columns,
  /// in place.
  virtual void rope(const Matrix& x, std::int64_t num_heads,
                    std::span<const std::int32_t> positions, const RopeTable& table) = 0;

  /// Writes rows of [latent | key], quantised for an FP8 cache, to cache rows slots[i] = block *
  /// block_tokens + offset.
  virtual void store_latents(const Matrix& latent, const Matrix& rope_key,
                             std::span<const std::int64_t> slots, const LatentCache& cache) = 0;

  /// What a step computes of its new rows before attention, with the bits of the single calls:
  /// rope() of q's heads; of [latent | key] in `compressed_kv`, rms_norm() of the latent and rope()
  /// of the key, in place; store_latents().
  virtual void rope_and_store(const Matrix& q, std::int64_t num_heads, const Matrix& compressed_kv,
                              const VectorView& norm, float eps,
                              std::span<const std::int32_t> positions, const RopeTable& table,
                              std::span<const std::int64_t> slots, const LatentCache& cache) {
    const Matrix latent = compressed_kv.cols_from(0, cache.kv_lora_rank);
    const Matrix key = compressed_kv.cols_from(cache.kv_lora_rank, cache.rope_dim);
    rope(q, num_heads, positions, table);
    rms_norm(latent, norm, eps, latent);
    rope(key, 1, positions, table);
    store_latents(latent, key, slots, cache);
  }

  /// out[m, heads * v_head_dim] = attention of q[m, heads * (nope + rope)] over the cache. kv_b is
  /// this shard's [heads * (nope + v), kv_lora_rank]: rows of a head are W_uk, then W_uv.
  virtual void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                             std::span<const AttentionSegment> segments, const MlaShape& shape,
                             const Matrix& out) = 0;

  /// out = silu(gate) * up in float32, rounded once.
  virtual void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) = 0;

  /// activated = silu(gate_proj x) * (up_proj x). A backend may leave `gate` and `up`, of the shape
  /// of `activated`, alone and round once; others keep both there, rounded to their dtype.
  virtual void gated_linear(const Matrix& x, const WeightView& gate_proj, const WeightView& up_proj,
                            const Matrix& gate, const Matrix& up, const Matrix& activated) {
    linear(x, gate_proj, gate);
    linear(x, up_proj, up);
    silu_mul(gate, up, activated);
  }

  /// Router: logits = x w^T in float32, then scores, groups, top-k and weights. bias may be empty
  /// (size 0).
  virtual void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
                     const RoutingConfig& config, const Routing& routing) = 0;

  /// What an expert layer computes of its rows before the routed experts, with the bits of the
  /// single calls: route(), and gated_linear() and linear_leaves() of the shared experts.
  virtual void route_beside(const Matrix& x, const WeightView& gate, const VectorView& bias,
                            const RoutingConfig& config, const Routing& routing,
                            const SharedExperts& shared) {
    route(x, gate, bias, config, routing);
    const ExpertWeights& weights = shared.weights;
    gated_linear(x, weights.gate_proj, weights.up_proj, shared.gate, shared.up, shared.activated);
    linear_leaves(shared.activated, weights.down_proj, shared.split, shared.sums);
  }

  /// For every expert e in [first_expert, first_expert + experts.size()) and every row that chose
  /// it: sums.leaf(leaf of e)[row] += weight * down(silu(gate x) * up x), in ascending order of e;
  /// then out = balanced tree over the leaves. `split` runs over all routed experts. The activation
  /// between up and down is rounded to the dtype of x. A backend need not write the sums.
  virtual void routed_experts(const Matrix& x, const Routing& routing,
                              std::span<const ExpertWeights> experts, const LeafSplit& split,
                              const LeafSums& sums, MatrixView<float> out) = 0;
};

}  // namespace dsl
