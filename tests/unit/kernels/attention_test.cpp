// MLA attention of every variant against the scalar reference, in both forms.
#include <cmath>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

struct Case {
  MlaShape shape;
  std::int64_t num_positions;
  std::int64_t num_rows;
  std::int64_t block_tokens;
};

using AttentionTest = VariantTest;

TEST_P(AttentionTest, BothFormsEqualReference) {
  const Case cases[] = {
      {{2, 16, 8, 16, 32, 0.2f}, 1, 1, 16},        {{3, 16, 8, 16, 32, 0.2f}, 50, 50, 16},
      {{1, 24, 6, 20, 40, 0.15f}, 131, 7, 32},     {{4, 32, 16, 32, 72, 0.1f}, 300, 2, 64},
      {{1, 128, 64, 128, 512, 0.07f}, 131, 1, 64}, {{5, 7, 4, 9, 19, 0.3f}, 129, 129, 1}};
  for (const DType weight_type : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const Case& c : cases) {
        for (const MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
          const MlaShape& shape = c.shape;
          const auto cache = TestCache::random(random_, type, c.num_positions, c.block_tokens,
                                               shape.kv_lora_rank, shape.qk_rope_head_dim);
          const auto kv_b = TestWeight::random(
              random_, weight_type,
              {.out_features = shape.num_heads * (shape.qk_nope_head_dim + shape.v_head_dim),
               .in_features = shape.kv_lora_rank,
               .padding = 1,
               .first_row = 50});
          const std::int64_t q_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim;
          const auto q = TestMatrix::random(random_, type, c.num_rows + 2, shape.num_heads * q_dim);
          const TestMatrix actual(type, c.num_rows + 2, shape.num_heads * shape.v_head_dim);
          const TestMatrix expected = actual.clone();
          const AttentionSegment segments[] = {
              {2, c.num_rows, c.num_positions - c.num_rows, form, cache.block_table}};
          ops_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, actual.view());
          reference_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape,
                                    expected.view());
          double largest = 0;
          for (std::int64_t row = 2; row < c.num_rows + 2; ++row) {
            for (std::int64_t col = 0; col < expected.view().cols; ++col) {
              largest = std::max<double>(largest, std::abs(expected.at(row, col)));
            }
          }
          // BF16: keys, values, probabilities and the output are rounded on different sides now and
          // then.
          const double tolerance = largest * (type == DType::kBF16 ? std::ldexp(1.0, -5) : 2e-5);
          for (std::int64_t row = 2; row < c.num_rows + 2; ++row) {
            for (std::int64_t col = 0; col < expected.view().cols; ++col) {
              ASSERT_NEAR(actual.at(row, col), expected.at(row, col), tolerance)
                  << "row " << row << ", column " << col << ", " << name_of(weight_type) << " x "
                  << name_of(type) << (form == MlaForm::kExpanded ? " expanded" : " absorbed")
                  << ", " << c.num_positions << " positions; seed " << kSeed;
            }
          }
          EXPECT_TRUE(actual.padding_untouched());
          for (std::int64_t col = 0; col < actual.view().cols; ++col) {
            ASSERT_TRUE(std::isnan(actual.at(0, col)) && std::isnan(actual.at(1, col)))
                << "a row outside the segments was written";
          }
        }
      }
    }
  }
}

TEST_P(AttentionTest, LargeScoresDoNotOverflow) {
  const MlaShape shape{1, 16, 8, 16, 32, 50.0f};
  const auto cache = TestCache::random(random_, DType::kF32, 200, 16, 32, 8);
  const auto kv_b =
      TestWeight::random(random_, DType::kF32, {.out_features = 32, .in_features = 32});
  const auto q = TestMatrix::random(random_, DType::kF32, 1, 24, 10.0f);
  for (const MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    const TestMatrix out(DType::kF32, 1, 16);
    const AttentionSegment segments[] = {{0, 1, 199, form, cache.block_table}};
    ops_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, out.view());
    for (std::int64_t col = 0; col < 16; ++col) EXPECT_TRUE(std::isfinite(out.at(0, col)));
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, AttentionTest, testing::ValuesIn(fast_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
