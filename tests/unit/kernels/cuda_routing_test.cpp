// Which expert layers route beside their shared experts: the results are the same either way.
#include <memory>
#include <vector>

#include "engine/kernels/cuda/routing.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr std::int64_t kHidden = 64;
constexpr std::int64_t kWidth = 128;
constexpr std::int64_t kExperts = 16;
constexpr std::int64_t kTopK = 2;

bool routes_beside(std::int64_t rows, const WeightKind& kind, DType router_type) {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  cuda::Launcher launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
  Random random(kSeed);
  const LeafSplit split{kWidth, 0, 1};
  const auto x = TestMatrix::random(random, DType::kBF16, rows, kHidden);
  const auto router =
      TestWeight::random(random, router_type, {.out_features = kExperts, .in_features = kHidden});
  const TestWeight::Shape up_shape{.out_features = kWidth, .in_features = kHidden};
  const auto gate = TestWeight::random(random, kind, up_shape);
  const auto up = TestWeight::random(random, kind, up_shape);
  const auto down =
      TestWeight::random(random, kind, {.out_features = kHidden, .in_features = kWidth});
  const TestMatrix activated(DType::kBF16, rows, kWidth);
  const TestMatrix sums(DType::kF32, split.num_leaves() * rows, kHidden, 0);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * kTopK));
  std::vector<float> weights(ids.size());
  const RoutingConfig config{
      ScoringFunc::kSoftmax, TopkMethod::kGreedy, kExperts, kTopK, 1, 1, false, 1};
  const bool is_beside = cuda::route_few_beside(
      launcher, x.view(), router.view(), {}, config, {ids.data(), weights.data(), rows, kTopK},
      {{gate.view(), up.view(), down.view()},
       split,
       activated.view(),
       activated.view(),
       activated.view(),
       {sums.floats().data, split.num_leaves(), rows, kHidden}});
  EXPECT_TRUE(launcher.finish().has_value());
  return is_beside;
}

TEST(CudaRouting, FewRowsRouteBesideSharedExperts) {
  for (const std::int64_t rows : {1, 8, 16, 64}) {
    EXPECT_TRUE(routes_beside(rows, DType::kBF16, DType::kBF16)) << rows;
    EXPECT_TRUE(routes_beside(rows, DType::kF8E4M3, DType::kBF16)) << rows;
  }
  EXPECT_FALSE(routes_beside(65, DType::kBF16, DType::kBF16));
}

TEST(CudaRouting, WhatTensorCoresDoNotTakeIsRoutedAlone) {
  EXPECT_FALSE(routes_beside(1, DType::kF32, DType::kBF16));
  EXPECT_FALSE(routes_beside(1, WeightKind(DType::kF8E4M3, true), DType::kBF16));
  EXPECT_FALSE(routes_beside(1, DType::kBF16, DType::kF32));
}

}  // namespace
}  // namespace dsl::test
