#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/element_types.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/fp8_latent_store.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/network.h"
#include "engine/kernels/cuda/new_rows.cuh"
#include "engine/kernels/cuda/norm.cuh"
#include "engine/kernels/cuda/product_choice.h"
#include "engine/kernels/cuda/routing.h"
#include "engine/kernels/cuda/scratch_bounds.h"
#include "engine/kernels/cuda/step_graphs.h"
#include "engine/kernels/cuda/token_chooser.h"
#include "engine/kernels/linear_shapes.h"
#include "engine/runtime/cuda/device_facts.h"
#include "engine/runtime/cuda/device_memory.h"
#include "transport/base/log.h"

namespace dsl::cuda {
namespace {

std::string_view name_of_products(bool has_warpgroups) {
  return has_warpgroups ? "wgmma" : "mma.sync";
}

Matrix as_matrix(MatrixView<float> view) {
  return {view.data, DType::kF32, view.rows, view.cols, view.row_stride};
}

class CudaOps final : public Ops {
 public:
  explicit CudaOps(std::shared_ptr<const Stream> stream) : launcher_(std::move(stream)) {}

  std::string_view name() const override { return "cuda"; }
  std::string_view fp8_products() const override {
    return launcher_.has_warpgroups() ? "fp8" : "bf16";
  }
  std::string_view bf16_products() const override {
    return name_of_products(launcher_.has_bf16_warpgroups());
  }
  std::string_view attention_products() const override {
    return name_of_products(launcher_.has_attention_warpgroups());
  }
  Status finish() override { return launcher_.finish(); }

  Status run_step(const StepInputs& inputs, const std::function<Status()>& work) override {
    const bool is_decode =
        std::all_of(inputs.segments.begin(), inputs.segments.end(),
                    [](const auto& segment) { return segment.form == MlaForm::kAbsorbed; });
    if (!is_decode || !graphs_.is_on()) {
      graphs_.count_called();
      return work();
    }
    // Ops that are recorded, or not called at all, find these in place.
    launcher_.copy(positions_, inputs.positions);
    launcher_.copy(slots_, inputs.slots);
    copy_absorbed_rows(launcher_, attention_, inputs.segments);
    return graphs_.run(launcher_, {std::ssize(inputs.positions), absorbed_splits(inputs.segments)},
                       work);
  }
  StepCounts step_counts() const override { return graphs_.counts(); }

  Status enter_thread() override { return launcher_.enter_thread(); }
  std::int64_t needed_bytes(const OpsLimits& limits) const override {
    return backend_bytes(limits);
  }
  Status reserve(const OpsLimits& limits) override;
  std::int64_t held_bytes() const override;

  void embed(std::span<const std::int32_t> token_ids, const WeightView& table,
             std::int64_t first_token, const Matrix& out) override {
    const std::int32_t* ids = launcher_.copy(token_ids_, token_ids);
    if (ids == nullptr) return;
    with_weight(table.dtype, [&](auto w) {
      with_activation(out.dtype, [&](auto o) {
        launcher_.run({element_grid(out.cols, std::ssize(token_ids)), kElementThreads},
                      embed_kernel<decltype(w), decltype(o)>, ids, table, first_token, out);
      });
    });
  }

  void rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) override {
    with_activation(x.dtype, [&](auto a) {
      with_weight(weight.dtype, [&](auto w) {
        launcher_.run({dim3(static_cast<unsigned>(x.rows)), kElementThreads, kNormSharedBytes},
                      rms_norm_kernel<decltype(a), decltype(w)>, x,
                      static_cast<const decltype(w)*>(weight.data), eps, out);
      });
    });
  }

  void add_rms_norm(const Matrix& residual, MatrixView<const float> update,
                    const VectorView& weight, float eps, const Matrix& out) override {
    with_activation(residual.dtype, [&](auto a) {
      with_weight(weight.dtype, [&](auto w) {
        launcher_.run(
            {dim3(static_cast<unsigned>(residual.rows)), kElementThreads, kNormSharedBytes},
            add_rms_norm_kernel<decltype(a), decltype(w)>, residual, update,
            static_cast<const decltype(w)*>(weight.data), eps, out);
      });
    });
  }

  void linear(const Matrix& x, const WeightView& w, const Matrix& out) override {
    check_linear(x, w, out.rows, out.cols);
    multiply(launcher_, x, w, single_leaf(x.cols), out);
  }

  void linear_pair(const Matrix& x, const WeightView& w, const Matrix& out,
                   const WeightView& other_w, const Matrix& other_out) override {
    check_linear(x, w, out.rows, out.cols);
    check_linear(x, other_w, other_out.rows, other_out.cols);
    if (!multiply_pair(launcher_, x, w, out, other_w, other_out)) {
      Ops::linear_pair(x, w, out, other_w, other_out);
    }
  }

  void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                   MatrixView<float> out) override {
    check_linear(x, w, out.rows, out.cols);
    check_split(split, x.cols);
    multiply(launcher_, x, w, leaf_bounds(split), as_matrix(out));
  }

  void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                     const LeafSums& sums) override {
    check_linear(x, w, sums.rows, sums.cols);
    check_split(split, x.cols);
    multiply_leaves(launcher_, x, w, leaf_bounds(split), sums);
  }

  void gated_linear(const Matrix& x, const WeightView& gate_proj, const WeightView& up_proj,
                    const Matrix& gate, const Matrix& up, const Matrix& activated) override {
    check_linear(x, gate_proj, activated.rows, activated.cols);
    check_linear(x, up_proj, activated.rows, activated.cols);
    if (!multiply_gated(launcher_, x, gate_proj, up_proj, activated)) {
      Ops::gated_linear(x, gate_proj, up_proj, gate, up, activated);
    }
  }

  void add(const Matrix& residual, MatrixView<const float> update) override {
    with_activation(residual.dtype, [&](auto a) {
      launcher_.run({element_grid(residual.cols, residual.rows), kElementThreads},
                    add_kernel<decltype(a)>, residual, update);
    });
  }

  void rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
            const RopeTable& table) override {
    const std::int32_t* at = launcher_.copy(positions_, positions);
    if (at == nullptr) return;
    with_activation(x.dtype, [&](auto a) {
      launcher_.run({element_grid(num_heads * table.rope_dim / 2, x.rows), kElementThreads},
                    rope_kernel<decltype(a)>, x, num_heads, at, table);
    });
  }

  void store_latents(const Matrix& latent, const Matrix& rope_key,
                     std::span<const std::int64_t> slots, const LatentCache& cache) override {
    const std::int64_t* at = launcher_.copy(slots_, slots);
    if (at == nullptr) return;
    if (cache.dtype == DType::kF8E4M3) {
      launcher_.run({dim3(blocks_for(latent.rows, kLatentWarps)), kLatentThreads},
                    store_fp8_latents_kernel, latent, rope_key, at, cache, latent_layout(cache));
      return;
    }
    with_activation(cache.dtype, [&](auto a) {
      launcher_.run(
          {element_grid(cache.kv_lora_rank + cache.rope_dim, latent.rows), kElementThreads},
          store_latents_kernel<decltype(a)>, latent, rope_key, at, cache);
    });
  }

  void rope_and_store(const Matrix& q, std::int64_t num_heads, const Matrix& compressed_kv,
                      const VectorView& norm, float eps, std::span<const std::int32_t> positions,
                      const RopeTable& table, std::span<const std::int64_t> slots,
                      const LatentCache& cache) override {
    const NewRows call{q,
                       num_heads,
                       compressed_kv,
                       eps,
                       launcher_.copy(positions_, positions),
                       launcher_.copy(slots_, slots),
                       table,
                       cache,
                       latent_layout(cache)};
    if (call.positions == nullptr || call.slots == nullptr) return;
    const unsigned query_blocks = blocks_for(num_heads * table.rope_dim / 2, kElementThreads);
    const LaunchShape shape{dim3(1 + query_blocks, static_cast<unsigned>(q.rows)), kElementThreads,
                            new_rows_shared_bytes(cache)};
    with_weight(norm.dtype, [&](auto w) {
      const auto* weights = static_cast<const decltype(w)*>(norm.data);
      if (cache.dtype == DType::kF8E4M3) {
        return launcher_.run(shape, rope_and_store_kernel<BFloat16, decltype(w), Float8E4M3>, call,
                             weights);
      }
      with_activation(cache.dtype, [&](auto a) {
        launcher_.run(shape, rope_and_store_kernel<decltype(a), decltype(w), decltype(a)>, call,
                      weights);
      });
    });
  }

  void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) override {
    with_activation(out.dtype, [&](auto a) {
      launcher_.run({element_grid(out.cols, out.rows), kElementThreads},
                    silu_mul_kernel<decltype(a)>, gate, up, out);
    });
  }

  void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
             const RoutingConfig& config, const Routing& routing) override {
    route_rows(launcher_, x, gate, bias, config, routing);
  }

  void route_beside(const Matrix& x, const WeightView& gate, const VectorView& bias,
                    const RoutingConfig& config, const Routing& routing,
                    const SharedExperts& shared) override {
    if (!route_few_beside(launcher_, x, gate, bias, config, routing, shared)) {
      Ops::route_beside(x, gate, bias, config, routing, shared);
    }
  }

  void routed_experts(const Matrix& x, const Routing& routing,
                      std::span<const ExpertWeights> experts, const LeafSplit& split,
                      const LeafSums& sums, MatrixView<float> out) override {
    const auto found = experts_.find(experts.data());
    auto& copy = found != experts_.end()
                     ? found->second
                     : experts_.emplace(experts.data(), take_spare_experts()).first->second;
    join_routed_experts(launcher_, copy, x, routing, experts, split, sums, out);
  }

  void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) override {
    attend(launcher_, attention_, q, kv_b, cache, segments, shape, out);
  }

 private:
  using ExpertsCopy = DeviceCopy<ExpertWeights>;

  ExpertsCopy take_spare_experts() {
    if (spare_experts_.empty()) return ExpertsCopy("addresses of experts");
    ExpertsCopy spare = std::move(spare_experts_.back());
    spare_experts_.pop_back();
    return spare;
  }

  Launcher launcher_;
  DeviceCopy<std::int32_t> token_ids_{"token ids"};
  DeviceCopy<std::int32_t> positions_{"positions"};
  DeviceCopy<std::int64_t> slots_{"cache slots"};
  std::map<const ExpertWeights*, ExpertsCopy> experts_;  // of every layer
  std::vector<ExpertsCopy> spare_experts_;               // of layers that have not come yet
  AttentionCopies attention_;
  StepGraphs graphs_;
};

Status CudaOps::reserve(const OpsLimits& limits) {
  static_assert(sizeof(AttentionRow) + 2 * sizeof(std::int32_t) + sizeof(std::int64_t) ==
                kCopyBytesOfRow);
  if (limits.max_rows > kMaxGridRows) {
    return fail(ErrorCode::kInvalidArgument, "take smaller steps (max_batch_tokens)",
                "a step of {} tokens: CUDA starts kernels for at most {} rows", limits.max_rows,
                kMaxGridRows);
  }
  const CopySizes copies = copy_sizes(limits);
  DSL_TRY(token_ids_.reserve(copies.rows));
  DSL_TRY(positions_.reserve(copies.rows));
  DSL_TRY(slots_.reserve(copies.rows));
  for (std::int64_t layer = 0; layer < copies.expert_layers; ++layer) {
    DSL_TRY(spare_experts_.emplace_back("addresses of experts").reserve(copies.experts));
  }
  DSL_TRY(attention_.rows.reserve(copies.rows));
  DSL_TRY(attention_.block_tables.reserve(copies.block_tables));
  launcher_.limit_passes(limits.passes);
  DSL_TRY(launcher_.reserve_scratch(scratch_bytes(limits)));
  return choose_products(launcher_, limits);
}

std::int64_t CudaOps::held_bytes() const {
  std::int64_t bytes = token_ids_.held_bytes() + positions_.held_bytes() + slots_.held_bytes() +
                       attention_.rows.held_bytes() + attention_.block_tables.held_bytes() +
                       launcher_.scratch_bytes();
  for (const auto& [experts, copy] : experts_) bytes += copy.held_bytes();
  for (const ExpertsCopy& copy : spare_experts_) bytes += copy.held_bytes();
  return bytes;
}

}  // namespace

Result<int> num_cuda_devices() { return count_devices(); }

Result<Device> open_cuda_device(int device) {
  DSL_ASSIGN(Stream opened, Stream::open(device));
  DSL_ASSIGN(DeviceFacts facts, facts_of(device));
  const auto stream = std::make_shared<Stream>(std::move(opened));
  DSL_ASSIGN(auto network, open_network(stream));
  return Device{std::make_unique<DeviceMemory>(stream),
                std::make_unique<CudaOps>(stream),
                make_token_chooser(stream),
                std::move(network),
                std::move(facts.name),
                std::move(facts.identifier)};
}

}  // namespace dsl::cuda
