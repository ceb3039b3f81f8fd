// The scalar reference of every op: what the other variants are tested against, and the fallback on
// unknown CPUs.
#pragma once

#include "engine/kernels/ops.h"
#include "engine/runtime/thread_pool.h"

namespace dsl {

/// Plain loops in the order of the formulas. Non-owning: `pool` must outlive it. Thread-compatible.
class RefOps : public Ops {
 public:
  explicit RefOps(ThreadPool& pool) : pool_(pool) {}

  std::string_view name() const override { return "scalar"; }
  void embed(std::span<const std::int32_t> token_ids, const WeightView& table,
             std::int64_t first_token, const Matrix& out) override;
  void rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) override;
  void linear(const Matrix& x, const WeightView& w, const Matrix& out) override;
  void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                   MatrixView<float> out) override;
  void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                     const LeafSums& sums) override;
  void add(const Matrix& residual, MatrixView<const float> update) override;
  void rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
            const RopeTable& table) override;
  void store_latents(const Matrix& latent, const Matrix& rope_key,
                     std::span<const std::int64_t> slots, const LatentCache& cache) override;
  void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) override;
  void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) override;
  void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
             const RoutingConfig& config, const Routing& routing) override;
  void routed_experts(const Matrix& x, const Routing& routing,
                      std::span<const ExpertWeights> experts, const LeafSplit& split,
                      const LeafSums& sums, MatrixView<float> out) override;

 protected:
  ThreadPool& pool() const { return pool_; }

 private:
  ThreadPool& pool_;
};

}  // namespace dsl
