// Random tensors of every dtype and layout, and comparisons that report the worst element.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kernels/dispatch.h"
#include "engine/kernels/ops.h"
#include "engine/kernels/ops_limits.h"

namespace dsl::test {

/// How a weight is stored, and whether linears quantise what they multiply with it.
struct WeightKind {
  DType dtype;
  bool quantised_inputs = false;

  constexpr WeightKind(DType stored, bool quantised = false)
      : dtype(stored), quantised_inputs(quantised) {}
};
std::string name_of(const WeightKind& kind);

inline constexpr WeightKind kWeightKinds[] = {
    DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3, {DType::kF8E4M3, true}};
inline constexpr DType kActivationTypes[] = {DType::kF32, DType::kBF16};

/// Fixed so that a failure can be repeated; printed by every comparison.
inline constexpr std::uint32_t kSeed = 20240611;

using Random = std::mt19937;

/// Integer in [low, high].
std::int64_t pick(Random& random, std::int64_t low, std::int64_t high);

/// A matrix of activations with unused columns behind every row; begins as NaN everywhere.
class TestMatrix {
 public:
  TestMatrix(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t padding = 3);
  static TestMatrix random(Random& random, DType dtype, std::int64_t rows, std::int64_t cols,
                           float deviation = 1.0f, std::int64_t padding = 3);

  const Matrix& view() const { return view_; }
  MatrixView<float> floats() const { return view_.as<float>(); }
  float at(std::int64_t row, std::int64_t col) const;
  void set(std::int64_t row, std::int64_t col, float value);
  /// The bytes of a row, for tests of bit equality.
  std::string row_bits(std::int64_t row) const;
  std::string bits() const;
  bool padding_untouched() const;
  TestMatrix clone() const;

 private:
  std::vector<std::byte> data_;
  Matrix view_;
};

enum class ScaleKind { kF32, kE8M0 };

/// A weight of any kind; FP8 has random block scales, and its rows and columns may begin inside a
/// block. Blocks are 128 wide where inputs are quantised, whatever the shape says.
class TestWeight {
 public:
  struct Shape {
    std::int64_t out_features = 0;
    std::int64_t in_features = 0;
    std::int64_t padding = 0;
    ScaleKind scale_kind = ScaleKind::kF32;
    std::int32_t block = 128;
    std::int32_t first_row = 0;
    std::int32_t first_col = 0;
  };
  static TestWeight random(Random& random, const WeightKind& kind, const Shape& shape);

  const WeightView& view() const { return view_; }
  /// Euclidean norm of a decoded row.
  float row_norm(std::int64_t row) const;

 private:
  std::vector<std::byte> data_;
  std::vector<std::byte> scales_;
  WeightView view_;
};

/// A one-dimensional parameter.
class TestVector {
 public:
  static TestVector random(Random& random, DType dtype, std::int64_t size);
  const VectorView& view() const { return view_; }

 private:
  std::vector<std::byte> bytes_;
  VectorView view_;
};

/// |actual - expected| <= tolerance(row, col) everywhere, padding untouched; reports the worst
/// element.
template <typename Tolerance>
testing::AssertionResult is_close(const TestMatrix& actual, const TestMatrix& expected,
                                  Tolerance tolerance) {
  double worst = 0;
  std::string where = "nowhere";
  for (std::int64_t row = 0; row < expected.view().rows; ++row) {
    for (std::int64_t col = 0; col < expected.view().cols; ++col) {
      const double difference =
          std::abs(static_cast<double>(actual.at(row, col)) - expected.at(row, col));
      const double allowed = tolerance(row, col);
      const double ratio = difference <= allowed ? difference / (allowed + 1e-30) : 1e30;
      if (ratio > worst || !(difference == difference)) {
        worst = ratio;
        where = fmt::format("[{}, {}]: actual {}, expected {}, allowed {}", row, col,
                            actual.at(row, col), expected.at(row, col), allowed);
      }
    }
  }
  if (!actual.padding_untouched()) {
    return testing::AssertionFailure() << "wrote behind a row; seed " << kSeed;
  }
  if (worst <= 1) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "worst element " << where << "; seed " << kSeed;
}

/// Error of a float32 sum of `size` products in any order, for rows with these norms, plus one
/// rounding of the output.
double dot_tolerance(std::int64_t size, double norm_x, double norm_w, DType out, double value);

/// What is added to that where tensor cores multiply FP8: they add up 32 products, and the sum so
/// far, with about 14 bits below the largest (DeepSeek-V3 report, 3.3.2), four times a slice.
double fp8_product_tolerance(double norm_x, double norm_w);

/// Norm of a row of activations.
double row_norm(const TestMatrix& matrix, std::int64_t row);

std::unique_ptr<ThreadPool> make_pool(int num_threads);
std::unique_ptr<Ops> make_variant(std::string_view variant, ThreadPool& pool);

/// Runs a test for every variant that this machine has but the reference.
/// What a backend may be reserved with where a test leaves the rest to the calls.
OpsLimits smallest_limits();

class VariantTest : public testing::TestWithParam<std::string_view> {
 protected:
  std::unique_ptr<ThreadPool> pool_ = make_pool(2);
  std::unique_ptr<Ops> ops_ = make_variant(GetParam(), *pool_);
  std::unique_ptr<Ops> reference_ = make_variant("scalar", *pool_);
  Random random_{kSeed};
};

std::vector<std::string_view> fast_variants();
/// Sizes of the thread pool, beside VariantTest's, that may change nothing.
std::vector<int> other_thread_counts();
std::vector<std::string_view> all_variants();
std::string variant_name(const testing::TestParamInfo<std::string_view>& info);

/// A paged cache with random latents in shuffled blocks, and the block table of one sequence of
/// `num_positions`.
struct TestCache {
  TestMatrix data{DType::kF32, 0, 0};
  LatentCache view;
  std::vector<std::int32_t> block_table;

  /// The same rows in FP8, and in BF16 as an FP8 cache stands for them. Of a BF16 cache.
  TestCache quantised() const;
  TestCache rounded() const;

  static TestCache random(Random& random, DType dtype, std::int64_t num_positions,
                          std::int64_t block_tokens, std::int64_t rank, std::int64_t rope_dim);
};

}  // namespace dsl::test
