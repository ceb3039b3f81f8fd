// How pairs of a row and an expert are grouped by expert. On the emulated device.
#include "engine/kernels/cuda/expert_pairs.cuh"

#include <vector>

#include "engine/kernels/cuda/launcher.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::cuda {
namespace {

constexpr std::int64_t kTopK = 6;
constexpr std::int64_t kAllExperts = 12;
constexpr std::int64_t kFirstExpert = 3;
constexpr std::int64_t kLocalExperts = 5;

void expect_grouped(std::int64_t rows) {
  SCOPED_TRACE(fmt::format("{} rows", rows));
  test::Random random(test::kSeed);
  std::vector<std::int32_t> ids;
  for (std::int64_t p = 0; p < rows * kTopK; ++p) {
    ids.push_back(static_cast<std::int32_t>(test::pick(random, 0, kAllExperts - 1)));
  }
  std::vector<std::int32_t> expected_begin{0};
  std::vector<std::int32_t> expected_pairs;
  for (std::int64_t expert = kFirstExpert; expert < kFirstExpert + kLocalExperts; ++expert) {
    for (std::size_t p = 0; p < ids.size(); ++p) {
      if (ids[p] == expert) expected_pairs.push_back(static_cast<std::int32_t>(p));
    }
    expected_begin.push_back(static_cast<std::int32_t>(expected_pairs.size()));
  }

  std::vector<std::int32_t> begin(kLocalExperts + 1, -1);
  std::vector<std::int32_t> pairs(expected_pairs.size(), -1);
  Launcher launcher(std::make_shared<const Stream>(*Stream::open(0)));
  launcher.run({dim3(kLocalExperts), kPairWarps * kWarpSize, sizeof(PairCounts<kPairWarps>)},
               group_pairs_kernel<kPairWarps>, Routing{ids.data(), nullptr, rows, kTopK},
               kFirstExpert, ExpertPairs{begin.data(), pairs.data()});
  ASSERT_TRUE(launcher.finish());
  EXPECT_EQ(begin, expected_begin);
  EXPECT_EQ(pairs, expected_pairs);
}

/// Of some sizes a few warps have all pairs, of others each has several batches.
TEST(ExpertPairsTest, AreGroupedInAscendingOrder) {
  for (const std::int64_t rows : {1, 43, 86, 1365, 1366, 3000}) expect_grouped(rows);
}

}  // namespace
}  // namespace dsl::cuda
