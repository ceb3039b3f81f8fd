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
template <int kHeadTiles, typename L = BFloat16>
std::vector<float> results_with(const TestCache& cache, const TestMatrix& query) {
  std::vector<float> results(kResults * (DeepSeekDims::kRank + 2), -1.0f);
  float* values = results.data();
  float* largest = values + kResults * DeepSeekDims::kRank;
  const AttentionRow row{0, kPosition, 0};
  Launcher launcher(std::make_shared<const Stream>(*Stream::open(0)));
  AbsorbedRows pass;
  pass.latents = {cache.view, cache.block_table.data(), latent_layout(cache.view)};
  pass.rows = &row;
  pass.num_rows = 1;
  pass.shape = {kHeads, 128, 64, 128, 512, 0.07f};
  pass.results = {largest, largest + kResults, values, kSplits, DeepSeekDims::kRank};
  pass.query = static_cast<BFloat16*>(query.view().data);
  run_decode_tiles<DeepSeekDims, kHeadTiles, L>(launcher, pass);
  EXPECT_TRUE(launcher.finish());
  return results;
}

/// Nor do the codes of an FP8 cache, beside the BF16 values that they stand for.
TEST(MlaDecodeTest, HeadsOfABlockChangeNothing) {
  test::Random random(test::kSeed);
  const auto rows = TestCache::random(random, DType::kBF16, kPosition + 1, 64, 512, 64);
  const TestCache cache = rows.rounded();
  const TestCache codes = rows.quantised();
  const auto query = TestMatrix::random(random, DType::kBF16, kHeads, 576, 1.0f, 0);
  const std::vector<float> expected = results_with<1>(cache, query);
  const auto is_same = [&](const std::vector<float>& found) {
    return std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)) == 0;
  };
  EXPECT_TRUE(is_same(results_with<2>(cache, query)));
  EXPECT_TRUE(is_same(results_with<4>(cache, query)));
  EXPECT_TRUE((is_same(results_with<1, Float8E4M3>(codes, query))));
  EXPECT_TRUE((is_same(results_with<4, Float8E4M3>(codes, query))));
}

/// Two blocks fit on a multiprocessor of Hopper, one on GPUs with 99 KiB.
static_assert(sizeof(DecodeBlock<DeepSeekDims, 1, BFloat16>) <= 99 * 1024);
static_assert(sizeof(DecodeBlock<DeepSeekDims, 1, Float8E4M3>) <= 99 * 1024);

}  // namespace
}  // namespace dsl::cuda
