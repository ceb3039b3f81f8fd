// The vectorised CPU backend: splits work over threads and calls the kernel table of an instruction
// set.
#pragma once

#include <vector>

#include "engine/kernels/cpu/dot_driver.h"
#include "engine/kernels/cpu/kernel_table.h"
#include "engine/kernels/ref/ref_ops.h"
#include "engine/runtime/workspace.h"

namespace dsl::cpu {

/// Ops that move weights or much arithmetic; what costs nothing (embed, store_latents) is
/// inherited. Non-owning: `pool` and `kernels` must outlive it. Thread-compatible.
class CpuOps final : public RefOps {
 public:
  CpuOps(ThreadPool& pool, const KernelTable& kernels)
      : RefOps(pool), kernels_(kernels), workspaces_(static_cast<std::size_t>(pool.size())) {}

  std::string_view name() const override { return kernels_.name; }
  void rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) override;
  void linear(const Matrix& x, const WeightView& w, const Matrix& out) override;
  void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                   MatrixView<float> out) override;
  void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                     const LeafSums& sums) override;
  void add(const Matrix& residual, MatrixView<const float> update) override;
  void rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
            const RopeTable& table) override;
  void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) override;
  void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) override;
  void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
             const RoutingConfig& config, const Routing& routing) override;
  void routed_experts(const Matrix& x, const Routing& routing,
                      std::span<const ExpertWeights> experts, const LeafSplit& split,
                      const LeafSums& sums, MatrixView<float> out) override;

 private:
  /// Runs job(first, last, workspace) over parts of [0, count) if `cost` (multiply-adds or
  /// elements) is worth a parallel region, else inline.
  template <typename Job>
  void split(std::int64_t count, std::int64_t grain, std::int64_t cost, Job job);

  /// All rows of x as a dot kernel multiplies them with `w`, quantised where w says so, in scratch
  /// of the calling thread's current scope. `element` is linear_element()'s answer.
  DotRows prepare(const Matrix& x, const WeightView& w, const LeafSplit* leaves, DType element);

  /// out = x w^T through `sink`, cut into leaves when `leaves` is given.
  template <typename Sink>
  void multiply(const Matrix& x, const WeightView& w, const LeafSplit* leaves, Sink sink);

  const KernelTable& kernels_;
  std::vector<Workspace> workspaces_;  // one per thread
};

/// A region costs a few microseconds; below this many multiply-adds one thread is done sooner.
inline constexpr std::int64_t kParallelCost = 32768;

template <typename Job>
void CpuOps::split(std::int64_t count, std::int64_t grain, std::int64_t cost, Job job) {
  if (count <= 0) return;
  const int parts = cost < kParallelCost ? 1 : pool().size();
  if (parts == 1) {
    job(std::int64_t{0}, count, workspaces_[0]);
    return;
  }
  pool().run([&](int thread) {
    const ThreadPool::Range range = ThreadPool::part(count, grain, thread, parts);
    if (range.first < range.last) {
      job(range.first, range.last, workspaces_[static_cast<std::size_t>(thread)]);
    }
  });
}

}  // namespace dsl::cpu
