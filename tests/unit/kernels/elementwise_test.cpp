// Norms, activations, residual sums, rope and the small copying ops of every variant.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/kernels/latent_layout.h"
#include "engine/kernels/ref/elements.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kBF16};

/// Both sides round once; they may fall on different sides of a rounding boundary.
auto relative_to(const TestMatrix& expected, double float_epsilons) {
  const bool bf16 = expected.view().dtype == DType::kBF16;
  const double relative = bf16 ? std::ldexp(1.0, -7) : float_epsilons * std::ldexp(1.0, -23);
  return [&expected, relative](std::int64_t row, std::int64_t col) {
    return relative * std::abs(expected.at(row, col)) + 1e-30;
  };
}

using ElementwiseTest = VariantTest;

TEST_P(ElementwiseTest, RmsNormEqualsReference) {
  for (const DType type : kTypes) {
    for (const DType weight_type : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const std::int64_t cols : {1, 7, 16, 33, 512, 1001}) {
        const std::int64_t rows = pick(random_, 1, 9);
        const auto x = TestMatrix::random(random_, type, rows, cols, 3.0f);
        const auto weight = TestVector::random(random_, weight_type, cols);
        const TestMatrix actual(type, rows, cols);
        const TestMatrix expected(type, rows, cols);
        ops_->rms_norm(x.view(), weight.view(), 1e-6f, actual.view());
        reference_->rms_norm(x.view(), weight.view(), 1e-6f, expected.view());
        ASSERT_TRUE(is_close(actual, expected, relative_to(expected, 16))) << cols;
        const TestMatrix in_place = x.clone();
        ops_->rms_norm(in_place.view(), weight.view(), 1e-6f, in_place.view());
        EXPECT_EQ(in_place.bits(), actual.bits());
      }
    }
  }
}

TEST_P(ElementwiseTest, SiluMulEqualsReferenceOverTheWholeRange) {
  for (const DType type : kTypes) {
    for (const std::int64_t cols : {1, 15, 16, 257}) {
      auto gate = TestMatrix::random(random_, type, 5, cols, 10.0f);
      gate.set(0, 0, -1000.0f);
      gate.set(1, 0, 1000.0f);
      gate.set(2, 0, 0.0f);
      gate.set(3, 0, -87.0f);
      const auto up = TestMatrix::random(random_, type, 5, cols);
      const TestMatrix actual(type, 5, cols);
      const TestMatrix expected(type, 5, cols);
      ops_->silu_mul(gate.view(), up.view(), actual.view());
      reference_->silu_mul(gate.view(), up.view(), expected.view());
      ASSERT_TRUE(is_close(actual, expected, relative_to(expected, 16))) << cols;
    }
  }
}

TEST_P(ElementwiseTest, AddRoundsOnce) {
  for (const DType type : kTypes) {
    for (const std::int64_t cols : {1, 16, 130}) {
      const auto start = TestMatrix::random(random_, type, 4, cols);
      const auto update = TestMatrix::random(random_, DType::kF32, 4, cols);
      const TestMatrix actual = start.clone();
      const TestMatrix expected = start.clone();
      const MatrixView<const float> view{update.floats().data, 4, cols, update.view().row_stride};
      ops_->add(actual.view(), view);
      reference_->add(expected.view(), view);
      EXPECT_EQ(actual.bits(), expected.bits());
    }
  }
}

TEST_P(ElementwiseTest, AddingAndNormingAtOnceHasTheBitsOfBoth) {
  for (const DType type : kTypes) {
    for (const std::int64_t cols : {1, 16, 130, 2500}) {
      const auto start = TestMatrix::random(random_, type, 4, cols);
      const auto update = TestMatrix::random(random_, DType::kF32, 4, cols);
      const auto weight = TestVector::random(random_, DType::kBF16, cols);
      const MatrixView<const float> view{update.floats().data, 4, cols, update.view().row_stride};
      const TestMatrix residual = start.clone();
      const TestMatrix out(type, 4, cols);
      ops_->add_rms_norm(residual.view(), view, weight.view(), 1e-6f, out.view());
      const TestMatrix added = start.clone();
      const TestMatrix normed(type, 4, cols);
      ops_->add(added.view(), view);
      ops_->rms_norm(added.view(), weight.view(), 1e-6f, normed.view());
      EXPECT_EQ(residual.bits(), added.bits()) << cols;
      EXPECT_EQ(out.bits(), normed.bits()) << cols;
    }
  }
}

TEST_P(ElementwiseTest, RopingAndStoringAtOnceHasTheBitsOfTheSingleCalls) {
  struct Shape {
    std::int64_t num_heads;
    std::int64_t head_dim;
    std::int64_t rank;
    std::int64_t rope_dim;
  };
  for (const auto& [type, cached_type] : {std::pair(DType::kF32, DType::kF32),
                                          {DType::kBF16, DType::kBF16},
                                          {DType::kBF16, DType::kF8E4M3}}) {
    for (const auto& [num_heads, head_dim, rank, rope_dim] :
         {Shape{16, 192, 512, 64}, {3, 24, 130, 6}, {1, 2, 1, 2}}) {
      const std::int64_t rows = 5;
      const std::int64_t num_slots = 16;
      const auto first_q = TestMatrix::random(random_, type, rows, num_heads * head_dim);
      const auto first_kv = TestMatrix::random(random_, type, rows, rank + rope_dim);
      const auto norm = TestVector::random(random_, DType::kBF16, rank);
      const auto angles = TestMatrix::random(random_, DType::kF32, 2 * rows, rope_dim / 2, 1, 0);
      const RopeTable table{angles.floats().row(0), angles.floats().row(rows), rows, rope_dim};
      const std::vector<std::int32_t> positions = {4, 0, 2, 2, 1};
      const std::vector<std::int64_t> slots = {3, 15, 0, 7, 8};
      struct Outcome {
        TestMatrix q;
        TestMatrix kv;
        std::string cached;
        LatentCache cache;
      };
      const auto start = [&, cached_type = cached_type, rank = rank, rope_dim = rope_dim] {
        const LatentLayout layout = latent_layout(rank, rope_dim, cached_type);
        Outcome outcome{first_q.clone(),
                        first_kv.clone(),
                        std::string(static_cast<std::size_t>(num_slots * layout.row_bytes), 'x'),
                        {}};
        outcome.cache = {nullptr, cached_type, 2, num_slots / 2, rank, rope_dim};
        return outcome;
      };
      Outcome together = start();
      together.cache.data = together.cached.data();
      ops_->rope_and_store(together.q.view(), num_heads, together.kv.view(), norm.view(), 1e-6f,
                           positions, table, slots, together.cache);
      Outcome single = start();
      single.cache.data = single.cached.data();
      const Matrix latent = single.kv.view().cols_from(0, rank);
      const Matrix key = single.kv.view().cols_from(rank, rope_dim);
      ops_->rope(single.q.view(), num_heads, positions, table);
      ops_->rms_norm(latent, norm.view(), 1e-6f, latent);
      ops_->rope(key, 1, positions, table);
      ops_->store_latents(latent, key, slots, single.cache);
      EXPECT_EQ(together.q.bits(), single.q.bits());
      EXPECT_EQ(together.kv.bits(), single.kv.bits());
      EXPECT_EQ(together.cached, single.cached);
      EXPECT_NE(together.q.bits(), first_q.bits());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ElementwiseTest, testing::ValuesIn(fast_variants()),
                         variant_name);

class CopyingTest : public VariantTest {};

TEST_P(CopyingTest, EmbedTakesRowsOfTheShardAndZerosElsewhere) {
  for (const DType weight_type : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    const auto table = TestWeight::random(random_, weight_type,
                                          {.out_features = 10, .in_features = 70, .first_row = 5});
    const std::vector<std::int32_t> ids = {20, 29, 19, 30, 0, 25};
    const TestMatrix out(DType::kBF16, 6, 70);
    ops_->embed(ids, table.view(), 20, out.view());
    std::vector<float> row(70);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::fill(row.begin(), row.end(), 0.0f);
      if (ids[i] >= 20 && ids[i] < 30) ref::decode_row(table.view(), ids[i] - 20, row.data());
      for (std::int64_t col = 0; col < 70; ++col) {
        EXPECT_EQ(out.at(static_cast<std::int64_t>(i), col),
                  ref::rounded_to(DType::kBF16, row[static_cast<std::size_t>(col)]));
      }
    }
    EXPECT_TRUE(out.padding_untouched());
  }
}

TEST_P(CopyingTest, RopeRotatesInterleavedPairsOfTheLastColumns) {
  constexpr std::int64_t kHeads = 3;
  constexpr std::int64_t kHeadDim = 10;
  constexpr std::int64_t kRope = 4;
  const std::vector<std::int32_t> positions = {0, 2};
  std::vector<float> cos(3 * kRope / 2);
  std::vector<float> sin(cos.size());
  for (std::size_t i = 0; i < cos.size(); ++i) {
    cos[i] = std::cos(static_cast<float>(i / 2) * (i % 2 == 0 ? 1.0f : 0.1f));
    sin[i] = std::sin(static_cast<float>(i / 2) * (i % 2 == 0 ? 1.0f : 0.1f));
  }
  const auto x = TestMatrix::random(random_, DType::kF32, 2, kHeads * kHeadDim);
  const TestMatrix rotated = x.clone();
  ops_->rope(rotated.view(), kHeads, positions, {cos.data(), sin.data(), 3, kRope});
  EXPECT_EQ(rotated.row_bits(0), x.row_bits(0));
  for (std::int64_t col = 0; col < kHeads * kHeadDim; ++col) {
    const std::int64_t in_head = col % kHeadDim - (kHeadDim - kRope);
    if (in_head < 0) {
      EXPECT_EQ(rotated.at(1, col), x.at(1, col));
      continue;
    }
    const double angle = 2.0 * (in_head / 2 == 0 ? 1.0 : 0.1);
    const std::int64_t first = col - in_head % 2;
    const double a = x.at(1, first);
    const double b = x.at(1, first + 1);
    const double expected = in_head % 2 == 0 ? a * std::cos(angle) - b * std::sin(angle)
                                             : a * std::sin(angle) + b * std::cos(angle);
    EXPECT_NEAR(rotated.at(1, col), expected, 1e-6);
  }
}

TEST_P(CopyingTest, StoreLatentsWritesOnlyItsSlots) {
  for (const DType type : kTypes) {
    const TestMatrix data(type, 4 * 8, 12, 0);
    const LatentCache cache{data.view().data, type, 4, 8, 8, 4};
    const auto latent = TestMatrix::random(random_, type, 2, 8);
    const auto key = TestMatrix::random(random_, type, 2, 4);
    const std::vector<std::int64_t> slots = {31, 9};
    ops_->store_latents(latent.view(), key.view(), slots, cache);
    EXPECT_EQ(data.row_bits(31), latent.row_bits(0) + key.row_bits(0));
    EXPECT_EQ(data.row_bits(9), latent.row_bits(1) + key.row_bits(1));
    for (std::int64_t row = 0; row < 32; ++row) {
      EXPECT_EQ(std::isnan(data.at(row, 0)), row != 31 && row != 9);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, CopyingTest, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
