#include <algorithm>

#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/routing.cuh"
#include "engine/kernels/cuda/routing.h"
#include "engine/kernels/cuda/shared_experts.cuh"

namespace dsl::cuda {
namespace {

/// The shared experts' products and the router's, of few rows.
template <typename W>
struct BesideGemms {
  LinearGemm<BFloat16, BFloat16, float, GemmSum::kWhole> logits;
  GatedGemm<W, BFloat16> gated;
  LeavesGemm<W, BFloat16> leaves;

  /// Whether the skinny kernels would take each of them by itself.
  bool have_few_rows(const SharedExperts& shared) const {
    const GemmRows rows{1, logits.num_rows, logits.num_rows};
    return has_few_rows<decltype(logits)>(logits.out.cols, rows) &&
           has_few_rows<decltype(gated)>(shared.activated.cols, rows) &&
           has_few_rows<decltype(leaves)>(shared.sums.cols, rows);
  }
};

template <int kRowTiles, typename W>
void run_beside(Launcher& launcher, const BesideGemms<W>& gemms, const RoutingCall& call,
                const SharedExperts& shared) {
  const auto blocks = [](std::int64_t features) { return blocks_for(features, kSkinnyFeatures); };
  const unsigned row_tiles = blocks_for(call.routing.rows, kRowTiles * kTileCols);
  const unsigned gated_blocks = blocks(shared.activated.cols);
  launcher.run({dim3(gated_blocks + blocks(gemms.logits.out.cols), row_tiles), kSkinnyThreads,
                skinny_shared_bytes<2, kRowTiles>()},
               skinny_both_kernel<decltype(gemms.gated), decltype(gemms.logits), kRowTiles>,
               gemms.gated, gemms.logits, gated_blocks);
  const unsigned choose_blocks = blocks_for(call.routing.rows, row_tiles);
  launcher.run({dim3(choose_blocks + blocks(shared.sums.cols), row_tiles), kSkinnyThreads,
                std::max(skinny_shared_bytes<1, kRowTiles>(), choose_shared_bytes(call.config))},
               choose_and_skinny_kernel<decltype(gemms.leaves), kRowTiles>, call, gemms.leaves,
               choose_blocks);
}

/// Whether tensor cores take the products with the rows as they are.
bool is_taken(const Matrix& x, const WeightView& gate, const SharedExperts& shared) {
  const auto takes = [&](const WeightView& w, const LeafBounds& leaves) {
    return is_tensor_core_gemm(x.dtype, w, leaves) && !w.quantised_inputs;
  };
  const ExpertWeights& weights = shared.weights;
  const LeafBounds whole = single_leaf(x.cols);
  return gate.dtype == DType::kBF16 && takes(gate, whole) && takes(weights.gate_proj, whole) &&
         takes(weights.up_proj, whole) && takes(weights.down_proj, leaf_bounds(shared.split)) &&
         is_read_alike(weights.gate_proj, weights.up_proj) &&
         weights.gate_proj.dtype == weights.down_proj.dtype;
}

}  // namespace

void route_rows(Launcher& launcher, const Matrix& x, const WeightView& gate, const VectorView& bias,
                const RoutingConfig& config, const Routing& routing) {
  float* logits = launcher.scratch<float>(x.rows * gate.out_features);
  if (logits == nullptr) return;
  multiply(launcher, x, gate, single_leaf(x.cols),
           {logits, DType::kF32, x.rows, gate.out_features, gate.out_features});
  launcher.run(
      {dim3(static_cast<unsigned>(x.rows)), choose_threads(config), choose_shared_bytes(config)},
      choose_kernel, RoutingCall{logits, bias, config, routing});
}

bool route_few_beside(Launcher& launcher, const Matrix& x, const WeightView& gate,
                      const VectorView& bias, const RoutingConfig& config, const Routing& routing,
                      const SharedExperts& shared) {
  if (!is_taken(x, gate, shared)) return false;
  const ExpertWeights& weights = shared.weights;
  const LeafBounds whole = single_leaf(x.cols);
  bool is_run = false;
  with_tensor_core_weight(weights.gate_proj.dtype, [&](auto e) {
    const Matrix& activated = shared.activated;
    BesideGemms<decltype(e)> gemms{
        {{{x}, x.rows, slices_of(gate, whole)},
         gate,
         {nullptr, DType::kF32, x.rows, gate.out_features, gate.out_features}},
        {{{x}, x.rows, slices_of(weights.gate_proj, whole)},
         weights.gate_proj,
         weights.up_proj,
         activated},
        {{{activated}, x.rows, slices_of(weights.down_proj, leaf_bounds(shared.split))},
         weights.down_proj,
         shared.sums}};
    if (!gemms.have_few_rows(shared)) return;
    is_run = true;
    float* logits = launcher.scratch<float>(x.rows * gate.out_features);
    if (logits == nullptr) return;
    gemms.logits.out.data = logits;
    const RoutingCall call{logits, bias, config, routing};
    if (x.rows <= kTileCols) return run_beside<1>(launcher, gemms, call, shared);
    if (x.rows <= kMaxSkinnyRows) return run_beside<2>(launcher, gemms, call, shared);
    run_beside<4>(launcher, gemms, call, shared);
  });
  return is_run;
}

}  // namespace dsl::cuda
