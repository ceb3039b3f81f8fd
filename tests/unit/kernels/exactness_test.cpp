// The exactness contract of ops.h, bit for bit: batches, shards, leaf trees and threads change
// nothing. Attention has its own (attention_exactness_test.cpp).
#include <algorithm>
#include <numeric>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

/// ((v0 + v1) + (v2 + v3)) + ... element by element, as collectives join the shards.
TestMatrix join(std::vector<TestMatrix> parts) {
  while (parts.size() > 1) {
    std::vector<TestMatrix> joined;
    for (std::size_t i = 0; i < parts.size(); i += 2) {
      TestMatrix sum = parts[i].clone();
      for (std::int64_t row = 0; row < sum.view().rows; ++row) {
        for (std::int64_t col = 0; col < sum.view().cols; ++col) {
          sum.set(row, col, parts[i].at(row, col) + parts[i + 1].at(row, col));
        }
      }
      joined.push_back(std::move(sum));
    }
    parts = std::move(joined);
  }
  return std::move(parts.front());
}

class ExactnessTest : public VariantTest {};

TEST_P(ExactnessTest, ARowDoesNotDependOnItsBatch) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      const std::int64_t rows = 70;
      const auto w = TestWeight::random(random_, weight_kind,
                                        {.out_features = 75, .in_features = 333, .first_col = 13});
      const auto x = TestMatrix::random(random_, type, rows, 333);
      const TestMatrix whole(type, rows, 75);
      ops_->linear(x.view(), w.view(), whole.view());
      for (const std::int64_t count : {1, 2, 3, 5, 23}) {
        const std::int64_t first = pick(random_, 0, rows - count);
        const TestMatrix part(type, count, 75);
        ops_->linear(x.view().rows_from(first, count), w.view(), part.view());
        for (std::int64_t r = 0; r < count; ++r) {
          ASSERT_EQ(part.row_bits(r), whole.row_bits(first + r))
              << name_of(weight_kind) << " x " << name_of(type) << ", " << count << " rows";
        }
      }
    }
  }
}

TEST_P(ExactnessTest, AFeatureDoesNotDependOnItsShard) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      const auto w = TestWeight::random(
          random_, weight_kind, {.out_features = 200, .in_features = 150, .first_row = 100});
      const auto x = TestMatrix::random(random_, type, 9, 150);
      const TestMatrix whole(DType::kF32, 9, 200, 0);
      ops_->linear(x.view(), w.view(), whole.view());
      for (int round = 0; round < 8; ++round) {
        const std::int64_t count = pick(random_, 1, 60);
        const std::int64_t first = pick(random_, 0, 200 - count);
        const TestMatrix part(DType::kF32, 9, count);
        ops_->linear(x.view(), w.view().rows_from(first, count), part.view());
        for (std::int64_t r = 0; r < 9; ++r) {
          for (std::int64_t c = 0; c < count; ++c) {
            ASSERT_EQ(part.at(r, c), whole.at(r, first + c));
          }
        }
      }
    }
  }
}

TEST_P(ExactnessTest, JoinedShardsEqualOneProcess) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      const std::int64_t size = 8 * 37;  // leaves begin inside scale blocks and vectors
      const std::int64_t rows = 6;
      const auto w =
          TestWeight::random(random_, weight_kind, {.out_features = 21, .in_features = size});
      const auto x = TestMatrix::random(random_, type, rows, size);
      std::string expected_tree;
      std::string expected_leaves;  // of all shards, one behind the other
      for (const int shards : {1, 2, 4, 8}) {
        std::vector<TestMatrix> trees;
        std::string leaves;
        for (int shard = 0; shard < shards; ++shard) {
          const LeafSplit split{size, shard, shards};
          const std::int64_t first = split.local_size() * shard;
          const Matrix part = x.view().cols_from(first, split.local_size());
          const WeightView weight = w.view().cols_from(first, split.local_size());
          trees.emplace_back(DType::kF32, rows, 21);
          ops_->linear_tree(part, weight, split, trees.back().floats());
          const TestMatrix sums(DType::kF32, split.num_leaves() * rows, 21, 0);
          ops_->linear_leaves(part, weight, split,
                              {sums.floats().data, split.num_leaves(), rows, 21});
          leaves += sums.bits();
        }
        const std::string tree = join(std::move(trees)).bits();
        if (shards == 1) {
          expected_tree = tree;
          expected_leaves = leaves;
        }
        EXPECT_EQ(tree, expected_tree) << shards << " shards, " << name_of(weight_kind);
        EXPECT_EQ(leaves, expected_leaves) << shards << " shards, " << name_of(weight_kind);
      }
    }
  }
}

/// Experts [first, first + count) of a layer of 16 with 3 per token, on rows [first_row, ...) of x;
/// beside the sums of others.
class ExpertLayer {
 public:
  ExpertLayer(Random& random, const WeightKind& weight_kind, DType type)
      : x_(TestMatrix::random(random, type, kRows, kHidden)) {
    for (std::int64_t e = 0; e < kExperts; ++e) {
      for (int i = 0; i < 2; ++i) {
        weights_.push_back(TestWeight::random(random, weight_kind,
                                              {.out_features = kInner, .in_features = kHidden}));
      }
      weights_.push_back(TestWeight::random(random, weight_kind,
                                            {.out_features = kHidden, .in_features = kInner}));
    }
    for (std::int64_t row = 0; row < kRows; ++row) {
      std::vector<std::int32_t> all(kExperts);
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      std::sort(all.begin(), all.begin() + kTopK);
      ids_.insert(ids_.end(), all.begin(), all.begin() + kTopK);
      for (std::int64_t k = 0; k < kTopK; ++k) {
        shares_.push_back(std::uniform_real_distribution<float>(0.1f, 1.0f)(random));
      }
    }
    for (std::int64_t i = 0; i < kNumLeaves * kRows * kHidden; ++i) {
      others_.push_back(std::uniform_real_distribution<float>(-1.0f, 1.0f)(random));
    }
  }

  TestMatrix run(Ops& ops, std::int64_t first_row, std::int64_t rows, int shards) {
    std::vector<TestMatrix> parts;
    for (int shard = 0; shard < shards; ++shard) {
      const LeafSplit split{kExperts, shard, shards};
      std::vector<ExpertWeights> experts;
      for (std::int64_t e = 0; e < split.local_size(); ++e) {
        const auto i = static_cast<std::size_t>(3 * (split.local_size() * shard + e));
        experts.push_back({weights_[i].view(), weights_[i + 1].view(), weights_[i + 2].view()});
      }
      std::vector<float> sums;
      for (int leaf = 0; leaf < split.num_leaves(); ++leaf) {
        const std::int64_t plane = std::int64_t{shard} * split.num_leaves() + leaf;
        const auto begin = others_.begin() + (plane * kRows + first_row) * kHidden;
        sums.insert(sums.end(), begin, begin + rows * kHidden);
      }
      parts.emplace_back(DType::kF32, rows, kHidden);
      ops.routed_experts(
          x_.view().rows_from(first_row, rows),
          {ids_.data() + first_row * kTopK, shares_.data() + first_row * kTopK, rows, kTopK},
          experts, split, {sums.data(), split.num_leaves(), rows, kHidden}, parts.back().floats());
    }
    return join(std::move(parts));
  }

  static constexpr std::int64_t kExperts = 16;
  static constexpr std::int64_t kTopK = 3;
  static constexpr std::int64_t kRows = 17;
  static constexpr std::int64_t kHidden = 140;
  static constexpr std::int64_t kInner = 70;

 private:
  TestMatrix x_;
  std::vector<TestWeight> weights_;
  std::vector<std::int32_t> ids_;
  std::vector<float> shares_;
  std::vector<float> others_;  // [kNumLeaves, kRows, kHidden]
};

TEST_P(ExactnessTest, ExpertsDoNotDependOnBatchShardsOrThreads) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      ExpertLayer layer(random_, weight_kind, type);
      const TestMatrix whole = layer.run(*ops_, 0, ExpertLayer::kRows, 1);
      for (const int shards : {2, 4, 8}) {
        EXPECT_EQ(layer.run(*ops_, 0, ExpertLayer::kRows, shards).bits(), whole.bits()) << shards;
      }
      for (const std::int64_t row : {0, 7, 16}) {
        EXPECT_EQ(layer.run(*ops_, row, 1, 1).bits(), whole.row_bits(row));
      }
      for (const int threads : other_thread_counts()) {
        const auto pool = make_pool(threads);
        EXPECT_EQ(layer.run(*make_variant(GetParam(), *pool), 0, ExpertLayer::kRows, 1).bits(),
                  whole.bits());
      }
    }
  }
}

TEST_P(ExactnessTest, ThreadsDoNotChangeLinears) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    const auto w =
        TestWeight::random(random_, weight_kind, {.out_features = 130, .in_features = 96});
    const auto x = TestMatrix::random(random_, DType::kBF16, 19, 96);
    const TestMatrix expected(DType::kBF16, 19, 130);
    ops_->linear(x.view(), w.view(), expected.view());
    for (const int threads : other_thread_counts()) {
      const auto pool = make_pool(threads);
      const TestMatrix actual(DType::kBF16, 19, 130);
      make_variant(GetParam(), *pool)->linear(x.view(), w.view(), actual.view());
      EXPECT_EQ(actual.bits(), expected.bits());
    }
  }
}

TEST_P(ExactnessTest, NormsAndActivationsDoNotDependOnTheBatch) {
  for (const DType type : kActivationTypes) {
    const auto x = TestMatrix::random(random_, type, 50, 1000);
    const auto y = TestMatrix::random(random_, type, 50, 1000);
    const auto weight = TestVector::random(random_, DType::kBF16, 1000);
    const TestMatrix norms(type, 50, 1000);
    const TestMatrix products(type, 50, 1000);
    ops_->rms_norm(x.view(), weight.view(), 1e-6f, norms.view());
    ops_->silu_mul(x.view(), y.view(), products.view());
    for (const std::int64_t row : {0, 1, 49}) {
      const TestMatrix norm(type, 1, 1000);
      const TestMatrix product(type, 1, 1000);
      ops_->rms_norm(x.view().rows_from(row, 1), weight.view(), 1e-6f, norm.view());
      EXPECT_EQ(norm.row_bits(0), norms.row_bits(row));
      // Columns too: a shard of the intermediate features begins anywhere.
      const Matrix gate = x.view().rows_from(row, 1).cols_from(333, 500);
      const Matrix up = y.view().rows_from(row, 1).cols_from(333, 500);
      ops_->silu_mul(gate, up, product.view().cols_from(333, 500));
      for (std::int64_t col = 333; col < 833; ++col) {
        ASSERT_EQ(product.at(0, col), products.at(row, col));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ExactnessTest, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
