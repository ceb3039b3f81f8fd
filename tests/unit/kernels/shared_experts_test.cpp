// Routing beside shared experts: the bits of both by themselves, for few rows and many.
#include <string>
#include <vector>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

/// What an expert layer leaves for its routed experts.
struct Left {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  TestMatrix activated;
  TestMatrix sums;

  bool operator==(const Left& other) const {
    return ids == other.ids && weights == other.weights &&
           activated.bits() == other.activated.bits() && sums.bits() == other.sums.bits();
  }
};

class SharedExpertsTest : public VariantTest {
 protected:
  static constexpr std::int64_t kHidden = 150;
  static constexpr std::int64_t kExperts = 72;
  static constexpr std::int64_t kTopK = 6;

  /// call(routing, shared experts)
  template <typename Call>
  static Left left_by(const ExpertWeights& weights, const LeafSplit& split, const Matrix& x,
                      const Call& call) {
    const std::int64_t width = split.local_size();
    const auto num_chosen = static_cast<std::size_t>(x.rows * kTopK);
    const TestMatrix gate(x.dtype, x.rows, width);
    const TestMatrix up(x.dtype, x.rows, width);
    Left left{std::vector<std::int32_t>(num_chosen, -1), std::vector<float>(num_chosen, -1),
              TestMatrix(x.dtype, x.rows, width),
              TestMatrix(DType::kF32, split.num_leaves() * x.rows, kHidden, 0)};
    call(Routing{left.ids.data(), left.weights.data(), x.rows, kTopK},
         SharedExperts{weights,
                       split,
                       gate.view(),
                       up.view(),
                       left.activated.view(),
                       {left.sums.floats().data, split.num_leaves(), x.rows, kHidden}});
    EXPECT_TRUE(left.activated.padding_untouched());
    return left;
  }
};

TEST_P(SharedExpertsTest, AreWhatTheyAreWithoutRouting) {
  const RoutingConfig config{
      ScoringFunc::kSigmoid, TopkMethod::kNoauxTc, kExperts, kTopK, 8, 4, true, 2.5f};
  for (const WeightKind& kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      for (const std::int64_t rows : {1, 9, 33, 70}) {
        const LeafSplit split{8 * 37, rows == 9 ? 1 : 0, rows == 9 ? 2 : 1};
        const std::int64_t width = split.local_size();
        const auto x = TestMatrix::random(random_, type, rows, kHidden);
        const auto router = TestWeight::random(random_, DType::kBF16,
                                               {.out_features = kExperts, .in_features = kHidden});
        const auto bias = TestVector::random(random_, DType::kF32, kExperts);
        const TestWeight::Shape up_shape{.out_features = width, .in_features = kHidden};
        const auto gate = TestWeight::random(random_, kind, up_shape);
        const auto up = TestWeight::random(random_, kind, up_shape);
        const auto down =
            TestWeight::random(random_, kind, {.out_features = kHidden, .in_features = width});
        const ExpertWeights weights{gate.view(), up.view(), down.view()};
        const Left beside = left_by(
            weights, split, x.view(), [&](const Routing& routing, const SharedExperts& shared) {
              ops_->route_beside(x.view(), router.view(), bias.view(), config, routing, shared);
            });
        const Left apart = left_by(
            weights, split, x.view(), [&](const Routing& routing, const SharedExperts& shared) {
              ops_->route(x.view(), router.view(), bias.view(), config, routing);
              ops_->gated_linear(x.view(), gate.view(), up.view(), shared.gate, shared.up,
                                 shared.activated);
              ops_->linear_leaves(shared.activated, down.view(), split, shared.sums);
            });
        EXPECT_TRUE(beside == apart) << name_of(kind) << " x " << name_of(type) << ", " << rows;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, SharedExpertsTest, testing::ValuesIn(fast_variants()),
                         variant_name);

}  // namespace
}  // namespace dsl::test
