#include "tests/unit/kernels/copying_ops.h"

#include <utility>
#include <vector>

#include "tests/unit/kernels/device_copies.h"

namespace dsl::test {
namespace {

class CopyingOps final : public Ops {
 public:
  explicit CopyingOps(Device device) : device_(std::move(device)) {}

  std::string_view name() const override { return device_.ops->name(); }
  std::string_view fp8_products() const override { return device_.ops->fp8_products(); }
  std::string_view bf16_products() const override { return device_.ops->bf16_products(); }
  std::string_view attention_products() const override { return device_.ops->attention_products(); }
  Status finish() override { return device_.ops->finish(); }

  void embed(std::span<const std::int32_t> token_ids, const WeightView& table,
             std::int64_t first_token, const Matrix& out) override {
    WeightView table_copy = table;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.read(table_copy);
    copies.write(out_copy);
    copies.run(*device_.ops,
               [&] { device_.ops->embed(token_ids, table_copy, first_token, out_copy); });
  }

  void rms_norm(const Matrix& x, const VectorView& weight, float eps, const Matrix& out) override {
    Matrix x_copy = x;
    VectorView weight_copy = weight;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(weight_copy);
    copies.write(out_copy);
    copies.run(*device_.ops, [&] { device_.ops->rms_norm(x_copy, weight_copy, eps, out_copy); });
  }

  void linear(const Matrix& x, const WeightView& w, const Matrix& out) override {
    Matrix x_copy = x;
    WeightView w_copy = w;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(w_copy);
    copies.write(out_copy);
    copies.run(*device_.ops, [&] { device_.ops->linear(x_copy, w_copy, out_copy); });
  }

  void linear_pair(const Matrix& x, const WeightView& w, const Matrix& out,
                   const WeightView& other_w, const Matrix& other_out) override {
    Matrix x_copy = x;
    WeightView w_copy = w;
    WeightView other_w_copy = other_w;
    Matrix out_copy = out;
    Matrix other_out_copy = other_out;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(w_copy);
    copies.read(other_w_copy);
    copies.write(out_copy);
    copies.write(other_out_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->linear_pair(x_copy, w_copy, out_copy, other_w_copy, other_out_copy);
    });
  }

  void linear_tree(const Matrix& x, const WeightView& w, const LeafSplit& split,
                   MatrixView<float> out) override {
    Matrix x_copy = x;
    WeightView w_copy = w;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(w_copy);
    copies.write(out);
    copies.run(*device_.ops, [&] { device_.ops->linear_tree(x_copy, w_copy, split, out); });
  }

  void linear_leaves(const Matrix& x, const WeightView& w, const LeafSplit& split,
                     const LeafSums& sums) override {
    Matrix x_copy = x;
    WeightView w_copy = w;
    LeafSums sums_copy = sums;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(w_copy);
    copies.write(sums_copy);
    copies.run(*device_.ops, [&] { device_.ops->linear_leaves(x_copy, w_copy, split, sums_copy); });
  }

  void add(const Matrix& residual, MatrixView<const float> update) override {
    Matrix residual_copy = residual;
    DeviceCopies copies(*device_.memory);
    copies.write(residual_copy);
    copies.read(update);
    copies.run(*device_.ops, [&] { device_.ops->add(residual_copy, update); });
  }

  void add_rms_norm(const Matrix& residual, MatrixView<const float> update,
                    const VectorView& weight, float eps, const Matrix& out) override {
    Matrix residual_copy = residual;
    VectorView weight_copy = weight;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.write(residual_copy);
    copies.read(update);
    copies.read(weight_copy);
    copies.write(out_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->add_rms_norm(residual_copy, update, weight_copy, eps, out_copy);
    });
  }

  void rope(const Matrix& x, std::int64_t num_heads, std::span<const std::int32_t> positions,
            const RopeTable& table) override {
    Matrix x_copy = x;
    RopeTable table_copy = table;
    DeviceCopies copies(*device_.memory);
    copies.write(x_copy);
    copies.read(table_copy);
    copies.run(*device_.ops, [&] { device_.ops->rope(x_copy, num_heads, positions, table_copy); });
  }

  void store_latents(const Matrix& latent, const Matrix& rope_key,
                     std::span<const std::int64_t> slots, const LatentCache& cache) override {
    Matrix latent_copy = latent;
    Matrix key_copy = rope_key;
    LatentCache cache_copy = cache;
    DeviceCopies copies(*device_.memory);
    copies.read(latent_copy);
    copies.read(key_copy);
    copies.write(cache_copy);
    copies.run(*device_.ops,
               [&] { device_.ops->store_latents(latent_copy, key_copy, slots, cache_copy); });
  }

  void rope_and_store(const Matrix& q, std::int64_t num_heads, const Matrix& compressed_kv,
                      const VectorView& norm, float eps, std::span<const std::int32_t> positions,
                      const RopeTable& table, std::span<const std::int64_t> slots,
                      const LatentCache& cache) override {
    Matrix q_copy = q;
    Matrix kv_copy = compressed_kv;
    VectorView norm_copy = norm;
    RopeTable table_copy = table;
    LatentCache cache_copy = cache;
    DeviceCopies copies(*device_.memory);
    copies.write(q_copy);
    copies.write(kv_copy);
    copies.read(norm_copy);
    copies.read(table_copy);
    copies.write(cache_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->rope_and_store(q_copy, num_heads, kv_copy, norm_copy, eps, positions, table_copy,
                                  slots, cache_copy);
    });
  }

  void mla_attention(const Matrix& q, const WeightView& kv_b, const LatentCache& cache,
                     std::span<const AttentionSegment> segments, const MlaShape& shape,
                     const Matrix& out) override {
    Matrix q_copy = q;
    WeightView kv_b_copy = kv_b;
    LatentCache cache_copy = cache;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.read(q_copy);
    copies.read(kv_b_copy);
    copies.read(cache_copy);
    copies.write(out_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->mla_attention(q_copy, kv_b_copy, cache_copy, segments, shape, out_copy);
    });
  }

  void silu_mul(const Matrix& gate, const Matrix& up, const Matrix& out) override {
    Matrix gate_copy = gate;
    Matrix up_copy = up;
    Matrix out_copy = out;
    DeviceCopies copies(*device_.memory);
    copies.read(gate_copy);
    copies.read(up_copy);
    copies.write(out_copy);
    copies.run(*device_.ops, [&] { device_.ops->silu_mul(gate_copy, up_copy, out_copy); });
  }

  void gated_linear(const Matrix& x, const WeightView& gate_proj, const WeightView& up_proj,
                    const Matrix& gate, const Matrix& up, const Matrix& activated) override {
    Matrix x_copy = x;
    WeightView gate_proj_copy = gate_proj;
    WeightView up_proj_copy = up_proj;
    Matrix gate_copy = gate;
    Matrix up_copy = up;
    Matrix activated_copy = activated;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(gate_proj_copy);
    copies.read(up_proj_copy);
    copies.write(gate_copy);
    copies.write(up_copy);
    copies.write(activated_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->gated_linear(x_copy, gate_proj_copy, up_proj_copy, gate_copy, up_copy,
                                activated_copy);
    });
  }

  void route(const Matrix& x, const WeightView& gate, const VectorView& bias,
             const RoutingConfig& config, const Routing& routing) override {
    Matrix x_copy = x;
    WeightView gate_copy = gate;
    VectorView bias_copy = bias;
    Routing routing_copy = routing;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(gate_copy);
    copies.read(bias_copy);
    copies.write(routing_copy);
    copies.run(*device_.ops,
               [&] { device_.ops->route(x_copy, gate_copy, bias_copy, config, routing_copy); });
  }

  void route_beside(const Matrix& x, const WeightView& gate, const VectorView& bias,
                    const RoutingConfig& config, const Routing& routing,
                    const SharedExperts& shared) override {
    Matrix x_copy = x;
    WeightView gate_copy = gate;
    VectorView bias_copy = bias;
    Routing routing_copy = routing;
    SharedExperts shared_copy = shared;
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(gate_copy);
    copies.read(bias_copy);
    copies.read(shared_copy.weights);
    copies.write(shared_copy.gate);
    copies.write(shared_copy.up);
    copies.write(shared_copy.activated);
    copies.write(shared_copy.sums);
    copies.write(routing_copy);
    copies.run(*device_.ops, [&] {
      device_.ops->route_beside(x_copy, gate_copy, bias_copy, config, routing_copy, shared_copy);
    });
  }

  void routed_experts(const Matrix& x, const Routing& routing,
                      std::span<const ExpertWeights> experts, const LeafSplit& split,
                      const LeafSums& sums, MatrixView<float> out) override {
    Matrix x_copy = x;
    Routing routing_copy = routing;
    LeafSums sums_copy = sums;
    experts_.assign(experts.begin(), experts.end());
    DeviceCopies copies(*device_.memory);
    copies.read(x_copy);
    copies.read(routing_copy);
    copies.read(sums_copy);
    copies.write(out);
    for (ExpertWeights& expert : experts_) copies.read(expert);
    copies.run(*device_.ops, [&] {
      device_.ops->routed_experts(x_copy, routing_copy, experts_, split, sums_copy, out);
    });
  }

 private:
  Device device_;
  std::vector<ExpertWeights> experts_;  // a device keeps what belongs to an address
};

}  // namespace

std::unique_ptr<Ops> make_copying_ops(Device device) {
  return std::make_unique<CopyingOps>(std::move(device));
}

}  // namespace dsl::test
