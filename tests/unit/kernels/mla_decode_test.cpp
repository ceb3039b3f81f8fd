// How many heads a block of the decode kernel has changes no bit. On the emulated device.
#include <cstring>
#include <numeric>

#include "engine/kernels/cuda/mla_launch.cuh"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::cuda {
namespace {

using test::TestCache;
using test::TestMatrix;

constexpr int kHeads = 50;
constexpr std::int64_t kPosition = 300;
constexpr std::int64_t kSplits = 2;
constexpr std::size_t kResults = kHeads * kSplits;

/// The results of one row whose context is `kPosition` + 1 long.
template <int kHeadTiles>
std::vector<float> results_with(const TestCache& cache, const TestMatrix& query) {
  std::vector<float> results(kResults * (DeepSeekDims::kRank + 2), -1.0f);
  float* values = results.data();
  float* largest = values + kResults * DeepSeekDims::kRank;
  const AttentionRow row{0, kPosition, 0};
  Launcher launcher(std::make_shared<const Stream>(*Stream::open(0)));
  AbsorbedRows pass;
  pass.latents = {cache.view, cache.block_table.data()};
  pass.rows = &row;
  pass.num_rows = 1;
  pass.shape = {kHeads, 128, 64, 128, 512, 0.07f};
  pass.results = {largest, largest + kResults, values, kSplits, DeepSeekDims::kRank};
  pass.query = static_cast<BFloat16*>(query.view().data);
  run_decode_tiles<DeepSeekDims, kHeadTiles>(launcher, pass);
  EXPECT_TRUE(launcher.finish());
  return results;
}

TEST(MlaDecodeTest, HeadsOfABlockChangeNothing) {
  test::Random random(test::kSeed);
  const auto cache = TestCache::random(random, DType::kBF16, kPosition + 1, 64, 512, 64);
  const auto query = TestMatrix::random(random, DType::kBF16, kHeads, 576, 1.0f, 0);
  const std::vector<float> expected = results_with<1>(cache, query);
  EXPECT_EQ(std::memcmp(results_with<2>(cache, query).data(), expected.data(),
                        expected.size() * sizeof(float)),
            0);
  EXPECT_EQ(std::memcmp(results_with<4>(cache, query).data(), expected.data(),
                        expected.size() * sizeof(float)),
            0);
}

}  // namespace
}  // namespace dsl::cuda
