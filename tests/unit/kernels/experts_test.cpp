// Routed experts of every variant against the scalar reference.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

using ExpertsTest = VariantTest;

TEST_P(ExpertsTest, RoutedExpertsEqualReference) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (int round = 0; round < 4; ++round) {
        // The last time all rows choose one of many experts, which has many more than it might
        // expect; the time before, each chooses more than a kernel adds at once.
        const bool is_skewed = round == 3;
        const bool has_many_choices = round == 2;
        const int shards = is_skewed ? 4 : has_many_choices ? 2 : 1 << pick(random_, 0, 2);
        const bool has_many_experts = is_skewed || has_many_choices;
        const LeafSplit split{(has_many_experts ? 6 : pick(random_, 2, 6)) * shards,
                              static_cast<int>(pick(random_, 0, shards - 1)), shards};
        const std::int64_t rows = round == 0 ? 1 : is_skewed ? 40 : pick(random_, 1, 40);
        const std::int64_t hidden = pick(random_, 3, 150);
        const std::int64_t inner = pick(random_, 3, 90);
        const std::int64_t top_k = has_many_choices ? 10 : pick(random_, 1, 2);
        std::vector<TestWeight> weights;
        std::vector<ExpertWeights> experts;
        for (std::int64_t e = 0; e < split.local_size(); ++e) {
          for (int i = 0; i < 2; ++i) {
            weights.push_back(TestWeight::random(
                random_, weight_kind, {.out_features = inner, .in_features = hidden, .block = 32}));
          }
          weights.push_back(
              TestWeight::random(random_, weight_kind,
                                 {.out_features = hidden, .in_features = inner, .first_col = 9}));
        }
        for (std::size_t e = 0; e < weights.size(); e += 3) {
          experts.push_back({weights[e].view(), weights[e + 1].view(), weights[e + 2].view()});
        }
        std::vector<std::int32_t> ids;
        std::vector<float> shares;
        for (std::int64_t row = 0; row < rows; ++row) {
          std::vector<std::int32_t> all(static_cast<std::size_t>(split.size));
          std::iota(all.begin(), all.end(), 0);
          std::shuffle(all.begin(), all.end(), random_);
          if (is_skewed) {
            std::iter_swap(all.begin(),
                           std::find(all.begin(), all.end(), split.shard * split.local_size()));
          }
          std::sort(all.begin(), all.begin() + top_k);
          for (std::int64_t k = 0; k < top_k; ++k) {
            ids.push_back(all[static_cast<std::size_t>(k)]);
            shares.push_back(0.25f + 0.01f * static_cast<float>(row));
          }
        }
        const Routing routing{ids.data(), shares.data(), rows, top_k};
        const auto x = TestMatrix::random(random_, type, rows, hidden);
        const int leaves = split.num_leaves();
        const auto start = TestMatrix::random(random_, DType::kF32, leaves * rows, hidden, 0.1f, 0);
        const auto joined_by = [&](Ops& ops) {
          const TestMatrix sums = start.clone();
          TestMatrix out(DType::kF32, rows, hidden);
          ops.routed_experts(x.view(), routing, experts, split,
                             {sums.floats().data, leaves, rows, hidden}, out.floats());
          return out;
        };
        const TestMatrix actual = joined_by(*ops_);
        const TestMatrix expected = joined_by(*reference_);
        double largest = 0;
        for (std::int64_t row = 0; row < rows; ++row) {
          for (std::int64_t col = 0; col < hidden; ++col) {
            largest = std::max<double>(largest, std::abs(expected.at(row, col)));
          }
        }
        // In BF16 a hidden activation may round to the neighbour: one part in 2^8 of a few terms,
        // and quantised to the next code, one part in 2^3.
        const double part = weight_kind.quantised_inputs ? 0x1p-6 : 0x1p-8;
        const double tolerance = largest * (type == DType::kBF16 ? part : 1e-5);
        ASSERT_TRUE(
            is_close(actual, expected, [&](std::int64_t, std::int64_t) { return tolerance; }))
            << name_of(weight_kind) << " x " << name_of(type) << ", " << rows << " rows";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ExpertsTest, testing::ValuesIn(fast_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
