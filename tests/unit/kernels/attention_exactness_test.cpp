// The exactness contract of ops.h for attention, bit for bit: chunks of a prompt, heads, other
// sequences and threads change nothing.
#include <utility>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

using AttentionExactnessTest = VariantTest;

/// A sequence of 300 positions, of which rows are computed by some op, in some cut.
class AttentionLayer {
 public:
  AttentionLayer(Random& random, DType weight_type, DType type, const MlaShape& shape)
      : type_(type),
        shape_(shape),
        cache_(TestCache::random(random, type, kPositions, 32, shape.kv_lora_rank,
                                 shape.qk_rope_head_dim)),
        kv_b_(TestWeight::random(random, weight_type,
                                 {.out_features = shape.num_heads * head_features(),
                                  .in_features = shape.kv_lora_rank})),
        q_(TestMatrix::random(random, type, kPositions, shape.num_heads * q_dim())) {}

  /// Rows of positions [first, last) with cuts in between, heads [first_head, first_head + heads).
  TestMatrix run(Ops& ops, MlaForm form, const std::vector<std::int64_t>& cuts,
                 std::int64_t first_head, std::int64_t heads) const {
    MlaShape shape = shape_;
    shape.num_heads = heads;
    TestMatrix out(type_, kPositions, heads * shape.v_head_dim);
    const Matrix q = q_.view().cols_from(first_head * q_dim(), heads * q_dim());
    const WeightView kv_b =
        kv_b_.view().rows_from(first_head * head_features(), heads * head_features());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      const std::int64_t count = cuts[i + 1] - cuts[i];
      const AttentionSegment segments[] = {{0, count, cuts[i], form, cache_.block_table}};
      ops.mla_attention(q.rows_from(cuts[i], count), kv_b, cache_.view, segments, shape,
                        out.view().rows_from(cuts[i], count));
    }
    return out;
  }
  TestMatrix run(Ops& ops, MlaForm form, const std::vector<std::int64_t>& cuts) const {
    return run(ops, form, cuts, 0, shape_.num_heads);
  }

  const MlaShape& shape() const { return shape_; }

  static constexpr std::int64_t kPositions = 300;

 private:
  std::int64_t q_dim() const { return shape_.qk_nope_head_dim + shape_.qk_rope_head_dim; }
  std::int64_t head_features() const { return shape_.qk_nope_head_dim + shape_.v_head_dim; }

  DType type_;
  MlaShape shape_;
  TestCache cache_;
  TestWeight kv_b_;
  TestMatrix q_;
};

/// Sizes that suit no vector, and those of the demonstration models.
constexpr MlaShape kOddHeads{2, 16, 8, 12, 40, 0.2f};
constexpr MlaShape kDemoHeads{2, 32, 16, 32, 64, 0.15f};

TEST_P(AttentionExactnessTest, RowsDoNotDependOnChunksHeadsOrThreads) {
  const AttentionLayer layers[] = {{random_, DType::kBF16, DType::kF32, kOddHeads},
                                   {random_, DType::kF8E4M3, DType::kBF16, kOddHeads},
                                   {random_, DType::kBF16, DType::kBF16, kDemoHeads},
                                   {random_, DType::kF8E4M3, DType::kBF16, kDemoHeads}};
  for (const AttentionLayer& layer : layers) {
    for (const MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
      const TestMatrix whole = layer.run(*ops_, form, {200, 300});
      for (const std::vector<std::int64_t>& cuts :
           {std::vector<std::int64_t>{200, 201, 235}, {255, 256, 270}}) {
        const TestMatrix part = layer.run(*ops_, form, cuts);
        for (std::int64_t row = cuts.front(); row < cuts.back(); ++row) {
          ASSERT_EQ(part.row_bits(row), whole.row_bits(row)) << "row " << row;
        }
      }
      const std::int64_t value_dim = layer.shape().v_head_dim;
      const TestMatrix second_head = layer.run(*ops_, form, {250, 264}, 1, 1);
      for (std::int64_t row = 250; row < 264; ++row) {
        for (std::int64_t v = 0; v < value_dim; ++v) {
          ASSERT_EQ(second_head.at(row, v), whole.at(row, value_dim + v));
        }
      }
      for (const int threads : other_thread_counts()) {
        const auto pool = make_pool(threads);
        EXPECT_EQ(layer.run(*make_variant(GetParam(), *pool), form, {200, 300}).bits(),
                  whole.bits());
      }
    }
  }
}

TEST_P(AttentionExactnessTest, SequencesOfABatchDoNotSeeEachOther) {
  const std::pair<DType, MlaShape> cases[] = {
      {DType::kF32, kOddHeads}, {DType::kBF16, kOddHeads}, {DType::kBF16, kDemoHeads}};
  for (const auto& [type, shape] : cases) {
    const auto kv_b = TestWeight::random(
        random_, DType::kBF16,
        {.out_features = shape.num_heads * (shape.qk_nope_head_dim + shape.v_head_dim),
         .in_features = shape.kv_lora_rank});
    auto cache =
        TestCache::random(random_, type, 400, 16, shape.kv_lora_rank, shape.qk_rope_head_dim);
    const std::span<const std::int32_t> table(cache.block_table);
    const auto q = TestMatrix::random(
        random_, type, 12, shape.num_heads * (shape.qk_nope_head_dim + shape.qk_rope_head_dim));
    // Rows 0-4 continue a prompt, row 5 and rows 6-7 are generated, 8-11 begin a prompt.
    const AttentionSegment segments[] = {{0, 5, 131, MlaForm::kExpanded, table.subspan(0, 10)},
                                         {5, 1, 40, MlaForm::kAbsorbed, table.subspan(10, 5)},
                                         {6, 2, 100, MlaForm::kAbsorbed, table.subspan(15, 8)},
                                         {8, 4, 0, MlaForm::kExpanded, table.subspan(23, 1)}};
    const TestMatrix together(type, 12, shape.num_heads * shape.v_head_dim);
    const TestMatrix alone(type, 12, shape.num_heads * shape.v_head_dim);
    ops_->mla_attention(q.view(), kv_b.view(), cache.view, segments, shape, together.view());
    for (const AttentionSegment& segment : segments) {
      ops_->mla_attention(q.view(), kv_b.view(), cache.view, {&segment, 1}, shape, alone.view());
    }
    EXPECT_EQ(together.bits(), alone.bits());
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, AttentionExactnessTest, testing::ValuesIn(all_variants()),
                         variant_name);

}  // namespace
}  // namespace dsl::test
