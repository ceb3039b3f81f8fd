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
      {{2, 16, 8, 16, 32, 0.2f}, 1, 1, 16},       {{2, 16, 8, 16, 32, 0.2f}, 30, 30, 16},
      {{1, 24, 6, 20, 40, 0.15f}, 131, 7, 32},    {{1, 32, 16, 32, 72, 0.1f}, 300, 2, 64},
      {{1, 128, 64, 128, 512, 0.07f}, 19, 1, 64}, {{2, 7, 4, 9, 19, 0.3f}, 129, 20, 1}};
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

/// The error of every element of rows [0, rows) is within some parts of the largest value.
void expect_near(const TestMatrix& actual, const TestMatrix& expected, double parts,
                 std::string_view what) {
  double largest = 0;
  double worst = 0;
  for (std::int64_t row = 0; row < expected.view().rows; ++row) {
    for (std::int64_t col = 0; col < expected.view().cols; ++col) {
      const double difference = std::abs(actual.at(row, col) - expected.at(row, col));
      largest = std::max<double>(largest, std::abs(expected.at(row, col)));
      worst = difference <= worst ? worst : difference;
    }
  }
  EXPECT_LE(worst, largest * parts) << what << "; largest value " << largest << "; seed " << kSeed;
  EXPECT_TRUE(actual.padding_untouched());
}

/// BF16 rounds keys, values, probabilities and the output to 2^-9 parts, on different sides now and
/// then; a value is a mean, so that their errors add up to a few of these at most.
constexpr double kParts = 0x1p-6;

/// Heads of DeepSeek-V2 and V3. Behind the last position the cache holds NaN.
TEST_P(AttentionTest, GeneratedTokensOfDeepSeekEqualReference) {
  const MlaShape shape{18, 128, 64, 128, 512, 0.07f};
  const auto cache = TestCache::random(random_, DType::kBF16, 600, 64, 512, 64);
  const std::int64_t last_positions[] = {0, 254, 255, 256, 599};
  std::vector<AttentionSegment> segments;
  for (const std::int64_t position : last_positions) {
    segments.push_back({std::ssize(segments), 1, position, MlaForm::kAbsorbed, cache.block_table});
  }
  const auto q = TestMatrix::random(random_, DType::kBF16, std::ssize(segments), 18 * 192);
  for (const DType weight_type : {DType::kBF16, DType::kF8E4M3}) {
    const auto kv_b = TestWeight::random(
        random_, weight_type,
        {.out_features = 18 * 256, .in_features = 512, .padding = 1, .first_row = 128});
    const TestMatrix actual(DType::kBF16, std::ssize(segments), 18 * 128);
    const TestMatrix expected = actual.clone();
    ops_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, actual.view());
    reference_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, expected.view());
    expect_near(actual, expected, kParts, name_of(weight_type));
    // Alone, and with a part of the heads.
    const TestMatrix alone(DType::kBF16, 1, 2 * 128);
    const MlaShape two_heads{2, 128, 64, 128, 512, 0.07f};
    const AttentionSegment last{0, 1, 599, MlaForm::kAbsorbed, cache.block_table};
    ops_->mla_attention(q.view().rows_from(4, 1).cols_from(15 * 192, 2 * 192),
                        kv_b.view().rows_from(15 * 256, 2 * 256), cache.view, {&last, 1}, two_heads,
                        alone.view());
    for (std::int64_t col = 0; col < 2 * 128; ++col) {
      ASSERT_EQ(alone.at(0, col), actual.at(4, 15 * 128 + col)) << name_of(weight_type);
    }
  }
}

TEST_P(AttentionTest, PromptsOfDeepSeekEqualReference) {
  const MlaShape shape{1, 128, 64, 128, 512, 0.07f};
  const auto cache = TestCache::random(random_, DType::kBF16, 140, 16, 512, 64);
  const auto kv_b =
      TestWeight::random(random_, DType::kBF16, {.out_features = 256, .in_features = 512});
  const auto q = TestMatrix::random(random_, DType::kBF16, 66, 192);
  const TestMatrix actual(DType::kBF16, 66, 128);
  const TestMatrix expected = actual.clone();
  const AttentionSegment segment{0, 66, 74, MlaForm::kExpanded, cache.block_table};
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, {&segment, 1}, shape, actual.view());
  reference_->mla_attention(q.view(), kv_b.view(), cache.view, {&segment, 1}, shape,
                            expected.view());
  expect_near(actual, expected, kParts, "expanded");
  // In two chunks whose rows stand elsewhere in blocks of rows.
  const TestMatrix chunks(DType::kBF16, 66, 128);
  const AttentionSegment first{0, 6, 74, MlaForm::kExpanded, cache.block_table};
  const AttentionSegment second{6, 60, 80, MlaForm::kExpanded, cache.block_table};
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, {&first, 1}, shape, chunks.view());
  ops_->mla_attention(q.view(), kv_b.view(), cache.view, {&second, 1}, shape, chunks.view());
  EXPECT_EQ(chunks.bits(), actual.bits());
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
