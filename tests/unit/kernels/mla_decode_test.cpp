// How many heads a block of the decode kernel has changes no bit. On the emulated device.
#include <cstring>
#include <string_view>
#include <vector>

#include "engine/kernels/cuda/mla_launch.cuh"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::cuda {
namespace {

using test::TestCache;
using test::TestMatrix;

/// A row whose context is `position` + 1 long.
struct Problem {
  int num_heads;
  std::int64_t position;
  float softmax_scale = 0.07f;

  std::int64_t num_results() const { return num_heads * num_splits(position); }
};

std::vector<float> results_of(const Problem& problem, const TestCache& cache,
                              const TestMatrix& query,
                              void (*run)(Launcher&, const AbsorbedRows&)) {
  const std::int64_t count = problem.num_results();
  std::vector<float> results(static_cast<std::size_t>(count * (DeepSeekDims::kRank + 2)), -1.0f);
  float* values = results.data();
  float* bases = values + count * DeepSeekDims::kRank;
  const AttentionRow row{0, problem.position, 0};
  Launcher launcher(std::make_shared<const Stream>(*Stream::open(0)));
  AbsorbedRows pass;
  pass.latents = {cache.view, cache.block_table.data(), latent_layout(cache.view)};
  pass.rows = &row;
  pass.num_rows = 1;
  pass.shape = {problem.num_heads, 128, 64, 128, 512, problem.softmax_scale};
  pass.results = {bases, bases + count, values, num_splits(problem.position), DeepSeekDims::kRank};
  pass.query = static_cast<BFloat16*>(query.view().data);
  run(launcher, pass);
  EXPECT_TRUE(launcher.finish());
  return results;
}

/// By blocks of 16, 32 and 64 heads and by warpgroups; of a cache in BF16, and of the codes of an
/// FP8 cache beside the BF16 values that they stand for.
void expect_same_bits(const Problem& problem) {
  SCOPED_TRACE(fmt::format("{} heads, position {}", problem.num_heads, problem.position));
  test::Random random(test::kSeed);
  const auto rows = TestCache::random(random, DType::kBF16, problem.position + 1, 64, 512, 64);
  const TestCache cache = rows.rounded();
  const TestCache codes = rows.quantised();
  const auto query = TestMatrix::random(random, DType::kBF16, problem.num_heads, 576, 1.0f, 0);
  const std::vector<float> expected =
      results_of(problem, cache, query, run_decode_tiles<DeepSeekDims, 1, BFloat16>);
  const auto expect_same = [&](std::string_view kernel, const TestCache& from,
                               void (*run)(Launcher&, const AbsorbedRows&)) {
    const std::vector<float> found = results_of(problem, from, query, run);
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << kernel;
  };
  expect_same("32 heads", cache, run_decode_tiles<DeepSeekDims, 2, BFloat16>);
  expect_same("64 heads", cache, run_decode_tiles<DeepSeekDims, 4, BFloat16>);
  expect_same("warpgroups", cache, run_decode_warpgroups<DeepSeekDims>);
  expect_same("16 heads, FP8", codes, run_decode_tiles<DeepSeekDims, 1, Float8E4M3>);
  expect_same("warpgroups, FP8", codes, run_decode_warpgroups<DeepSeekDims, Float8E4M3>);
  expect_same("64 heads, FP8", codes, run_decode_tiles<DeepSeekDims, 4, Float8E4M3>);
}

TEST(MlaDecodeTest, HeadsOfABlockChangeNothing) {
  expect_same_bits({.num_heads = 50, .position = 300});
  expect_same_bits({.num_heads = 66, .position = 0});
  expect_same_bits({.num_heads = 1, .position = 31});
  expect_same_bits({.num_heads = 64, .position = 32});
  expect_same_bits({.num_heads = 17, .position = 4096});
}

/// Where scores are large, later tiles leave the bases of exponentials far behind.
TEST(MlaDecodeTest, BasesOfExponentialsFollow) {
  expect_same_bits({.num_heads = 64, .position = 255, .softmax_scale = 2.0f});
}

/// Two blocks fit on a multiprocessor of Hopper, one on GPUs with 99 KiB.
static_assert(sizeof(DecodeBlock<DeepSeekDims, 1, BFloat16>) <= 99 * 1024);
static_assert(sizeof(DecodeBlock<DeepSeekDims, 1, Float8E4M3>) <= 99 * 1024);

}  // namespace
}  // namespace dsl::cuda
