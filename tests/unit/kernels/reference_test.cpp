// The reference itself, against formulas in double precision and against itself in the other form.
#include <cmath>

#include "engine/kernels/ref/elements.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

class ReferenceTest : public testing::Test {
 protected:
  std::unique_ptr<ThreadPool> pool_ = make_pool(1);
  std::unique_ptr<Ops> ops_ = make_variant("scalar", *pool_);
  Random random_{kSeed};
};

TEST_F(ReferenceTest, LinearIsTheDotProductOfDequantisedRows) {
  const auto w = TestWeight::random(
      random_, DType::kF8E4M3,
      {.out_features = 9, .in_features = 300, .padding = 4, .first_row = 125, .first_col = 77});
  const auto x = TestMatrix::random(random_, DType::kF32, 3, 300);
  const TestMatrix out(DType::kF32, 3, 9);
  ops_->linear(x.view(), w.view(), out.view());
  const auto* codes = static_cast<const Float8E4M3*>(w.view().data);
  const auto* scales = static_cast<const float*>(w.view().scales.data);
  for (std::int64_t m = 0; m < 3; ++m) {
    for (std::int64_t n = 0; n < 9; ++n) {
      double sum = 0;
      for (std::int64_t k = 0; k < 300; ++k) {
        const float scale = scales[(n + 125) / 128 * w.view().scales.row_stride + (k + 77) / 128];
        sum += static_cast<double>(x.at(m, k)) * to_float(codes[n * 304 + k]) * scale;
      }
      EXPECT_NEAR(out.at(m, n), sum, 1e-4);
    }
  }
}

TEST_F(ReferenceTest, ExpandedAndAbsorbedAttentionAgreeInFloat32) {
  const MlaShape shape{2, 16, 8, 12, 40, 0.2f};
  const auto cache = TestCache::random(random_, DType::kF32, 30, 8, 40, 8);
  const auto kv_b =
      TestWeight::random(random_, DType::kBF16, {.out_features = 56, .in_features = 40});
  const auto q = TestMatrix::random(random_, DType::kF32, 5, 48);
  const TestMatrix expanded(DType::kF32, 5, 24);
  const TestMatrix absorbed(DType::kF32, 5, 24);
  const AttentionSegment first[] = {{0, 5, 25, MlaForm::kExpanded, cache.block_table}};
  const AttentionSegment second[] = {{0, 5, 25, MlaForm::kAbsorbed, cache.block_table}};
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, first, shape, expanded.view());
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, second, shape, absorbed.view());
  EXPECT_TRUE(is_close(absorbed, expanded, [](std::int64_t, std::int64_t) { return 1e-5; }));
}

TEST_F(ReferenceTest, OnePositionAttendsToItsOwnValue) {
  const MlaShape shape{1, 8, 4, 6, 10, 1.0f};
  const auto cache = TestCache::random(random_, DType::kF32, 1, 4, 10, 4);
  const auto kv_b =
      TestWeight::random(random_, DType::kF32, {.out_features = 14, .in_features = 10});
  const auto q = TestMatrix::random(random_, DType::kF32, 1, 12);
  const TestMatrix out(DType::kF32, 1, 6);
  const AttentionSegment segments[] = {{0, 1, 0, MlaForm::kExpanded, cache.block_table}};
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, out.view());
  std::vector<float> row(10);
  for (std::int64_t v = 0; v < 6; ++v) {
    ref::decode_row(kv_b.view(), 8 + v, row.data());
    double sum = 0;
    const std::int64_t slot = std::int64_t{cache.block_table[0]} * 4;
    for (std::int64_t c = 0; c < 10; ++c) {
      sum += static_cast<double>(row[static_cast<std::size_t>(c)]) * cache.data.at(slot, c);
    }
    EXPECT_NEAR(out.at(0, v), sum, 1e-6);
  }
}

TEST(DispatchTest, AnUnknownVariantIsAnErrorThatNamesTheChoices) {
  const auto pool = make_pool(1);
  const auto ops = make_ops({.variant = "avx1024"}, *pool);
  ASSERT_FALSE(ops.has_value());
  EXPECT_EQ(ops.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(ops.error().message.find("scalar"), std::string::npos);
}

TEST(DispatchTest, EveryAvailableVariantCallsItselfByItsName) {
  const auto pool = make_pool(1);
  for (const std::string_view variant : available_variants()) {
    EXPECT_EQ(make_variant(variant, *pool)->name(), variant);
  }
}

TEST(DispatchTest, TheEnvironmentDecidesWhenTheOptionIsAuto) {
  const auto pool = make_pool(1);
  setenv("DSL_KERNELS", "scalar", 1);
  EXPECT_EQ(make_variant("auto", *pool)->name(), "scalar");
  unsetenv("DSL_KERNELS");
  EXPECT_EQ(make_variant("auto", *pool)->name(), available_variants().back());
}

}  // namespace
}  // namespace dsl::test
