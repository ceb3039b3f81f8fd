#include <bit>
#include <vector>

#include "engine/kernels/cuda/bf16_product_check.h"
#include "engine/kernels/cuda/check_operands.h"
#include "engine/kernels/cuda/gemm_launch.cuh"
#include "engine/kernels/cuda/linear.h"
#include "engine/kernels/cuda/linear_gemm.cuh"
#include "engine/kernels/cuda/slices.cuh"

namespace dsl::cuda {
namespace {

// A tile of 160 rows, or one of 128 and one of 64; two warpgroups of features; a slice and half a
// slice.
constexpr std::int64_t kComparedRows = 136;
constexpr std::int64_t kComparedFeatures = 128;
constexpr std::int64_t kComparedInputs = kSliceFeatures + kSliceFeatures / 2;
/// All rows take tiles where they do without warpgroups, so few the kernel for few.
constexpr std::int64_t kFewComparedRows = 32;

/// Every third row and feature are integers from -3 to 3, whose sums are exact. The others have
/// full mantissas, and exponents that are alike or up to 40 bits apart.
class ComparedOperands {
 public:
  ComparedOperands() {
    fill(rows_, kComparedRows);
    fill(weights_, kComparedFeatures);
  }

  const std::vector<BFloat16>& rows() const { return rows_; }
  const std::vector<BFloat16>& weights() const { return weights_; }

  static bool is_exact(std::int64_t row, std::int64_t feature) {
    return is_integral(row) && is_integral(feature);
  }
  float exact_product(std::int64_t row, std::int64_t feature) const {
    float sum = 0;
    for (std::int64_t i = 0; i < kComparedInputs; ++i) {
      sum += to_float(rows_[place(row, i)]) * to_float(weights_[place(feature, i)]);
    }
    return sum;
  }

 private:
  static bool is_integral(std::int64_t vector) { return vector % 3 == 0; }
  static std::size_t place(std::int64_t vector, std::int64_t i) {
    return static_cast<std::size_t>(vector * kComparedInputs + i);
  }

  void fill(std::vector<BFloat16>& values, std::int64_t vectors) {
    constexpr int kExponentSpans[] = {1, 4, 12, 40};
    for (std::int64_t vector = 0; vector < vectors; ++vector) {
      const int span = kExponentSpans[vector / 3 % std::ssize(kExponentSpans)];
      for (std::int64_t i = 0; i < kComparedInputs; ++i) {
        values.push_back(to_bfloat16(is_integral(vector)
                                         ? static_cast<float>(random_.below(7)) - 3.0f
                                         : random_.value(span)));
      }
    }
  }

  CheckRandom random_;
  std::vector<BFloat16> rows_;     // [kComparedRows, kComparedInputs]
  std::vector<BFloat16> weights_;  // [kComparedFeatures, kComparedInputs]
};

/// The operands in scratch, and room for their products.
struct ComparedCopies {
  Matrix rows{nullptr, DType::kBF16, kComparedRows, kComparedInputs, kComparedInputs};
  WeightView weight;
  Matrix products{nullptr, DType::kF32, kComparedRows, kComparedFeatures, kComparedFeatures};

  static Result<ComparedCopies> make(const ComparedOperands& operands, Launcher& launcher) {
    ComparedCopies copies;
    DSL_ASSIGN(CheckOperands space, CheckOperands::open(launcher));
    DSL_ASSIGN(copies.rows.data, space.put(operands.rows()));
    copies.weight.dtype = DType::kBF16;
    copies.weight.out_features = kComparedFeatures;
    copies.weight.in_features = copies.weight.row_stride = kComparedInputs;
    DSL_ASSIGN(copies.weight.data, space.put(operands.weights()));
    copies.products.data = space.take<float>(kComparedRows * kComparedFeatures);
    return copies;
  }

  /// Of the first `count` rows, by the kernels that a call with so many takes.
  Result<std::vector<float>> multiply_rows(Launcher& launcher, std::int64_t count) const {
    multiply(launcher, rows.rows_from(0, count), weight, single_leaf(kComparedInputs),
             products.rows_from(0, count));
    return read_products(launcher, count);
  }
  /// By tiles of 160 rows, which multiply_rows() does not choose for so few.
  Result<std::vector<float>> multiply_wide_tiles(Launcher& launcher) const {
    using Gemm = LinearGemm<BFloat16, BFloat16, float, GemmSum::kWhole>;
    run_warpgroups<Gemm, 2, 160>(
        launcher,
        Gemm{{{rows}, kComparedRows, slices_of(weight, single_leaf(kComparedInputs))},
             weight,
             products},
        kComparedFeatures, {1, kComparedRows, kComparedRows});
    return read_products(launcher, kComparedRows);
  }

 private:
  Result<std::vector<float>> read_products(Launcher& launcher, std::int64_t count) const {
    std::vector<float> read(static_cast<std::size_t>(count * kComparedFeatures));
    DSL_TRY(launcher.read(read.data(), products.data, read.size() * sizeof(float)));
    return read;
  }
};

Status check_exact_products(const ComparedOperands& operands, const std::vector<float>& products,
                            int device) {
  for (std::int64_t i = 0; i < std::ssize(products); ++i) {
    const std::int64_t row = i / kComparedFeatures;
    const std::int64_t feature = i % kComparedFeatures;
    if (!ComparedOperands::is_exact(row, feature)) continue;
    const float expected = operands.exact_product(row, feature);
    if (products[static_cast<std::size_t>(i)] == expected) continue;
    return fail(
        ErrorCode::kInternal,
        fmt::format("set {}=off, which multiplies without warpgroups, and report this",
                    kWarpgroupsVariable),
        "BF16 products of warpgroups on CUDA device {}: expected {} at row {}, feature {}, got {}",
        device, expected, row, feature, products[static_cast<std::size_t>(i)]);
  }
  return {};
}

/// `others` may have fewer rows.
std::optional<std::string> first_difference(const std::vector<float>& products,
                                            const std::vector<float>& others) {
  std::optional<std::size_t> first;
  int count = 0;
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(products[i]) == std::bit_cast<std::uint32_t>(others[i])) {
      continue;
    }
    if (!first) first = i;
    ++count;
  }
  if (!first) return std::nullopt;
  constexpr std::size_t kFeatures = kComparedFeatures;
  return fmt::format("{} of {} outputs differ, the first at row {}, feature {}: {:a}, not {:a}",
                     count, others.size(), *first / kFeatures, *first % kFeatures, products[*first],
                     others[*first]);
}

}  // namespace

Result<std::optional<std::string>> find_bf16_difference(Launcher& launcher) {
  const ComparedOperands operands;
  DSL_ASSIGN(const ComparedCopies copies, ComparedCopies::make(operands, launcher));
  launcher.use_bf16_warpgroups(true);
  const Result<std::vector<float>> by_warpgroups = copies.multiply_rows(launcher, kComparedRows);
  launcher.use_bf16_warpgroups(false);
  if (!by_warpgroups) return tl::unexpected<Error>(by_warpgroups.error());
  DSL_TRY(check_exact_products(operands, *by_warpgroups, launcher.stream().device()));
  DSL_ASSIGN(const std::vector<float> by_wide_tiles, copies.multiply_wide_tiles(launcher));
  if (auto found = first_difference(*by_warpgroups, by_wide_tiles)) return found;
  for (const std::int64_t rows : {kComparedRows, kFewComparedRows}) {
    DSL_ASSIGN(const std::vector<float> others, copies.multiply_rows(launcher, rows));
    if (auto found = first_difference(*by_warpgroups, others)) return found;
  }
  return std::nullopt;
}

}  // namespace dsl::cuda
