// Linear ops of every variant against the scalar reference, over dtypes, odd sizes, strides and FP8
// block offsets.
#include <cmath>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

TestWeight::Shape random_shape(Random& random, std::int64_t out, std::int64_t in) {
  return {.out_features = out,
          .in_features = in,
          .padding = pick(random, 0, 5),
          .scale_kind = pick(random, 0, 1) == 0 ? ScaleKind::kF32 : ScaleKind::kE8M0,
          .block = pick(random, 0, 1) == 0 ? 128 : 32,
          .first_row = static_cast<std::int32_t>(pick(random, 0, 31)),
          .first_col = static_cast<std::int32_t>(pick(random, 0, 31))};
}

class LinearTest : public VariantTest {
 protected:
  /// Of an output of a linear.
  double tolerance_of(const WeightKind& kind, const TestMatrix& x, std::int64_t row,
                      const TestWeight& w, std::int64_t col, DType out, double value) const {
    const double norm_x = row_norm(x, row);
    const double norm_w = w.row_norm(col);
    const bool is_fp8 =
        kind.quantised_inputs && x.view().dtype == DType::kBF16 && ops_->fp8_products() == "fp8";
    return dot_tolerance(x.view().cols, norm_x, norm_w, out, value) +
           (is_fp8 ? fp8_product_tolerance(norm_x, norm_w) : 0);
  }
};

TEST_P(LinearTest, LinearEqualsReference) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      for (int round = 0; round < 12; ++round) {
        const std::int64_t rows = round == 0 ? 1 : pick(random_, 1, 70);
        const std::int64_t in = pick(random_, 1, 400);
        const std::int64_t out = pick(random_, 1, 90);
        const DType out_type = pick(random_, 0, 1) == 0 ? DType::kF32 : type;
        const auto w = TestWeight::random(random_, weight_kind, random_shape(random_, out, in));
        const auto x = TestMatrix::random(random_, type, rows, in);
        const TestMatrix actual(out_type, rows, out);
        const TestMatrix expected(out_type, rows, out);
        ops_->linear(x.view(), w.view(), actual.view());
        reference_->linear(x.view(), w.view(), expected.view());
        ASSERT_TRUE(is_close(actual, expected,
                             [&](std::int64_t row, std::int64_t col) {
                               return tolerance_of(weight_kind, x, row, w, col, out_type,
                                                   expected.at(row, col));
                             }))
            << name_of(weight_kind) << " x " << name_of(type) << ", " << rows << " rows, [" << out
            << ", " << in << "]";
      }
    }
  }
}

TEST_P(LinearTest, GatedLinearEqualsReference) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      for (int round = 0; round < 6; ++round) {
        const std::int64_t rows = round == 0 ? 1 : pick(random_, 1, 40);
        const std::int64_t in = pick(random_, 1, 300);
        const std::int64_t out = pick(random_, 1, 70);
        const auto shape = random_shape(random_, out, in);
        const auto gate_proj = TestWeight::random(random_, weight_kind, shape);
        const auto up_proj = TestWeight::random(random_, weight_kind, shape);
        const auto x = TestMatrix::random(random_, type, rows, in);
        const TestMatrix gate(DType::kF32, rows, out);
        const TestMatrix up(DType::kF32, rows, out);
        const TestMatrix expected(DType::kF32, rows, out);
        reference_->gated_linear(x.view(), gate_proj.view(), up_proj.view(), gate.view(), up.view(),
                                 expected.view());
        const TestMatrix gate_scratch(type, rows, out);
        const TestMatrix up_scratch(type, rows, out);
        const TestMatrix actual(type, rows, out);
        ops_->gated_linear(x.view(), gate_proj.view(), up_proj.view(), gate_scratch.view(),
                           up_scratch.view(), actual.view());
        ASSERT_TRUE(is_close(actual, expected,
                             [&](std::int64_t row, std::int64_t col) {
                               // Gate and up as two linears; silu is at most 1.1 steep.
                               const double gate_error = tolerance_of(
                                   weight_kind, x, row, gate_proj, col, type, gate.at(row, col));
                               const double up_error = tolerance_of(weight_kind, x, row, up_proj,
                                                                    col, type, up.at(row, col));
                               const double rounding =
                                   type == DType::kBF16 ? std::ldexp(1.0, -8) : 1e-6;
                               return 1.1 * gate_error * (std::abs(up.at(row, col)) + up_error) +
                                      std::abs(gate.at(row, col)) * up_error +
                                      rounding * std::abs(expected.at(row, col)) + 1e-12;
                             }))
            << name_of(weight_kind) << " x " << name_of(type) << ", " << rows << " rows, [" << out
            << ", " << in << "]";
      }
    }
  }
}

TEST_P(LinearTest, PairsHaveTheBitsOfTheirLayers) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      for (const std::int64_t rows : {1, 13, 35, 70}) {
        const std::int64_t in = pick(random_, 60, 300);
        const auto x = TestMatrix::random(random_, type, rows, in);
        std::vector<TestWeight> layers;
        std::vector<TestMatrix> pair;
        std::vector<TestMatrix> alone;
        for (const std::int64_t out : {37, 90}) {
          layers.push_back(
              TestWeight::random(random_, weight_kind, {.out_features = out, .in_features = in}));
          pair.emplace_back(type, rows, out);
          alone.push_back(pair.back().clone());
          ops_->linear(x.view(), layers.back().view(), alone.back().view());
        }
        ops_->linear_pair(x.view(), layers[0].view(), pair[0].view(), layers[1].view(),
                          pair[1].view());
        for (std::size_t i = 0; i < 2; ++i) {
          EXPECT_EQ(pair[i].bits(), alone[i].bits()) << name_of(weight_kind) << ", " << rows;
          EXPECT_TRUE(pair[i].padding_untouched());
        }
      }
    }
  }
}

TEST_P(LinearTest, TreesAndLeavesEqualReference) {
  for (const WeightKind& weight_kind : kWeightKinds) {
    for (const DType type : kActivationTypes) {
      for (int round = 0; round < 6; ++round) {
        const int shards = 1 << pick(random_, 0, 3);
        const LeafSplit split{pick(random_, 1, 80) * shards,
                              static_cast<int>(pick(random_, 0, shards - 1)), shards};
        const std::int64_t rows = pick(random_, 1, 20);
        const std::int64_t out = pick(random_, 1, 50);
        const std::int64_t in = split.local_size();
        const auto w = TestWeight::random(random_, weight_kind, random_shape(random_, out, in));
        const auto x = TestMatrix::random(random_, type, rows, in);
        const auto tolerance = [&](std::int64_t row, std::int64_t col) {
          return tolerance_of(weight_kind, x, row % rows, w, col, DType::kF32, 0);
        };
        const TestMatrix actual(DType::kF32, rows, out);
        const TestMatrix expected(DType::kF32, rows, out);
        ops_->linear_tree(x.view(), w.view(), split, actual.floats());
        reference_->linear_tree(x.view(), w.view(), split, expected.floats());
        ASSERT_TRUE(is_close(actual, expected, tolerance));

        const std::int64_t leaves = split.num_leaves();
        const auto leaves_of = [&](Ops& ops) {
          TestMatrix sums(DType::kF32, leaves * rows, out, 0);
          ops.linear_leaves(x.view(), w.view(), split,
                            {sums.floats().data, split.num_leaves(), rows, out});
          return sums;
        };
        ASSERT_TRUE(is_close(leaves_of(*ops_), leaves_of(*reference_), tolerance));
      }
    }
  }
}

TEST_P(LinearTest, Float8NaNAndSubnormalsKeepTheirMeaning) {
  for (const DType type : kActivationTypes) {
    // Every code once; one row of x selects one of them.
    std::vector<Float8E4M3> codes(256);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = {static_cast<std::uint8_t>(i)};
    const std::vector<float> scales = {0.5f};
    WeightView w{codes.data(), DType::kF8E4M3, 256, 1, 1, {}};
    w.scales = {scales.data(), DType::kF32, 1, 256, 128, 0, 0};
    TestMatrix x(type, 1, 1);
    x.set(0, 0, 1.0f);
    const TestMatrix out(DType::kF32, 1, 256);
    ops_->linear(x.view(), w, out.view());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const float expected = to_float(codes[i]) * 0.5f;
      const float actual = out.at(0, static_cast<std::int64_t>(i));
      EXPECT_TRUE(actual == expected || (std::isnan(actual) && std::isnan(expected))) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, LinearTest, testing::ValuesIn(fast_variants()), variant_name);

}  // namespace
}  // namespace dsl::test
