#include <cstring>
#include <vector>

#include "engine/kernels/cuda/check_operands.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/warpgroup_check.h"

namespace dsl::cuda {
namespace {

// More than a tile of 128 rows, less than one of 160; more than the features of a block; three
// slices.
constexpr std::int64_t kCheckedRows = 131;
constexpr std::int64_t kCheckedScaleStride = 132;
constexpr std::int64_t kCheckedFeatures = 133;
constexpr std::int64_t kCheckedInputs = 3 * kSliceFeatures;
constexpr std::int64_t kCheckedSlices = kCheckedInputs / kSliceFeatures;
constexpr std::int64_t kWeightScaleRows = 2;

/// Integers from -3 to 3, and scales that are powers of two: sums stay below 2^24.
struct CheckedOperands {
  // Of vectors that begin as v{vector(count)}, nvcc 13.0 makes v{count}: a single element.
  std::vector<Float8E4M3> rows{kCheckedRows * kCheckedInputs};
  std::vector<float> row_scales = std::vector<float>(kCheckedSlices * kCheckedScaleStride);
  std::vector<Float8E4M3> weights{kCheckedFeatures * kCheckedInputs};
  std::vector<float> weight_scales = std::vector<float>(kWeightScaleRows * kCheckedSlices);
  std::vector<float> products = std::vector<float>(kCheckedRows * kCheckedFeatures);

  CheckedOperands() {
    std::uint32_t state = 1;
    const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 16; };
    const auto integer = [&] { return static_cast<float>(next() % 7) - 3.0f; };
    const auto power = [&] { return static_cast<float>(1u << next() % 3); };
    for (Float8E4M3& code : rows) code = to_float8_e4m3(integer());
    for (Float8E4M3& code : weights) code = to_float8_e4m3(integer());
    for (float& scale : row_scales) scale = power();
    for (float& scale : weight_scales) scale = power();
    for (std::int64_t row = 0; row < kCheckedRows; ++row) {
      for (std::int64_t feature = 0; feature < kCheckedFeatures; ++feature) {
        products[at(row, feature)] = product(row, feature);
      }
    }
  }

  static std::size_t at(std::int64_t row, std::int64_t feature) {
    return static_cast<std::size_t>(row * kCheckedFeatures + feature);
  }

 private:
  float product(std::int64_t row, std::int64_t feature) const {
    float sum = 0;
    for (std::int64_t i = 0; i < kCheckedInputs; ++i) {
      const std::int64_t slice = i / kSliceFeatures;
      const auto index = [](std::int64_t first, std::int64_t second, std::int64_t stride) {
        return static_cast<std::size_t>(first * stride + second);
      };
      sum += to_float(rows[index(row, i, kCheckedInputs)]) *
             to_float(weights[index(feature, i, kCheckedInputs)]) *
             row_scales[index(slice, row, kCheckedScaleStride)] *
             weight_scales[index(feature / kSliceFeatures, slice, kCheckedSlices)];
    }
    return sum;
  }
};

/// The operands' copies in scratch, and room for the products.
struct DeviceOperands {
  QuantisedRows rows;
  WeightView weight;
  float* products = nullptr;

  static Result<DeviceOperands> copy(const CheckedOperands& from, Launcher& launcher) {
    DeviceOperands copies;
    DSL_ASSIGN(CheckOperands operands, CheckOperands::open(launcher));
    copies.rows.row_stride = kCheckedInputs;
    copies.rows.scale_stride = kCheckedScaleStride;
    DSL_ASSIGN(copies.rows.codes, operands.put(from.rows));
    DSL_ASSIGN(copies.rows.scales, operands.put(from.row_scales));
    copies.weight.dtype = DType::kF8E4M3;
    copies.weight.out_features = kCheckedFeatures;
    copies.weight.in_features = copies.weight.row_stride = kCheckedInputs;
    copies.weight.scales.row_stride = kCheckedSlices;
    DSL_ASSIGN(copies.weight.data, operands.put(from.weights));
    DSL_ASSIGN(copies.weight.scales.data, operands.put(from.weight_scales));
    copies.products = operands.take<float>(std::ssize(from.products));
    return copies;
  }
};

using CheckedGemm = LinearGemm<Float8E4M3, Float8E4M3, float, GemmSum::kWhole>;

template <int kWarpgroups, int kRows>
Status check_tiles(Launcher& launcher, const CheckedGemm& gemm, const CheckedOperands& expected) {
  run_warpgroups<CheckedGemm, kWarpgroups, kRows>(launcher, gemm, kCheckedFeatures,
                                                  {1, kCheckedRows, kCheckedRows});
  std::vector<float> products(expected.products.size());
  DSL_TRY(launcher.read(products.data(), gemm.out.data, products.size() * sizeof(float)));
  for (std::int64_t row = 0; row < kCheckedRows; ++row) {
    for (std::int64_t feature = 0; feature < kCheckedFeatures; ++feature) {
      const std::size_t i = CheckedOperands::at(row, feature);
      if (products[i] == expected.products[i]) continue;
      return fail(ErrorCode::kInternal,
                  fmt::format("set {}=off, which multiplies FP8 as BF16, and report this",
                              kWarpgroupsVariable),
                  "FP8 products of warpgroups on CUDA device {} with tiles of {} rows: expected {} "
                  "at row {}, feature {}, got {}",
                  launcher.stream().device(), kRows, expected.products[i], row, feature,
                  products[i]);
    }
  }
  return {};
}

}  // namespace

Status check_warpgroups(Launcher& launcher) {
  if (!launcher.has_warpgroups()) return {};
  const CheckedOperands operands;
  DSL_ASSIGN(const DeviceOperands copies, DeviceOperands::copy(operands, launcher));
  const CheckedGemm gemm{
      {{copies.rows}, kCheckedRows, slices_of(copies.weight, single_leaf(kCheckedInputs))},
      copies.weight,
      {copies.products, DType::kF32, kCheckedRows, kCheckedFeatures, kCheckedFeatures}};
  DSL_TRY((check_tiles<1, 8>(launcher, gemm, operands)));
  DSL_TRY((check_tiles<1, 32>(launcher, gemm, operands)));
  DSL_TRY((check_tiles<2, 128>(launcher, gemm, operands)));
  return check_tiles<2, 160>(launcher, gemm, operands);
}

}  // namespace dsl::cuda
