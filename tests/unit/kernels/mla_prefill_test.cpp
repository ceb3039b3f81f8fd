// Prompt tokens get the same bits from either kernel that attends for them. On the emulated device.
#include <cstring>

#include "engine/kernels/cuda/mla_launch.cuh"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::cuda {
namespace {

using test::TestCache;
using test::TestMatrix;

/// Rows of a prompt whose positions before are cached.
struct Prompt {
  std::int64_t first_position;
  std::int64_t num_rows;
  float softmax_scale = 0.07f;

  std::int64_t num_positions() const { return first_position + num_rows; }
};

constexpr std::int64_t kPromptHeads = 2;

void expect_same_rows(const Prompt& prompt) {
  SCOPED_TRACE(fmt::format("{} rows from position {}", prompt.num_rows, prompt.first_position));
  using Dims = DeepSeekDims;
  test::Random random(test::kSeed);
  const auto cache =
      TestCache::random(random, DType::kBF16, prompt.num_positions(), 24, Dims::kRank, Dims::kRope);
  const auto expanded = TestMatrix::random(random, DType::kBF16, prompt.num_positions(),
                                           kPromptHeads * Dims::kHeadFeatures, 1.0f, 0);
  const auto query = TestMatrix::random(random, DType::kBF16, prompt.num_rows,
                                        kPromptHeads * Dims::kQuery, 1.0f, 8);
  const auto rows_by = [&](void (*run)(Launcher&, std::int64_t, const MlaPrefill&)) {
    TestMatrix out(DType::kBF16, prompt.num_rows, kPromptHeads * Dims::kValue);
    const Matrix q = query.view();
    const Matrix to = out.view();
    Launcher launcher(std::make_shared<const Stream>(*Stream::open(0)));
    run(launcher, kPromptHeads,
        {{cache.view, cache.block_table.data(), latent_layout(cache.view)},
         prompt.first_position,
         prompt.num_rows,
         static_cast<const BFloat16*>(q.data),
         q.row_stride,
         static_cast<const BFloat16*>(expanded.view().data),
         static_cast<BFloat16*>(to.data),
         to.row_stride,
         prompt.softmax_scale});
    EXPECT_TRUE(launcher.finish());
    EXPECT_TRUE(out.padding_untouched());
    return out;
  };
  const TestMatrix expected = rows_by(run_prefill_tiles<Dims>);
  const TestMatrix found = rows_by(run_prefill_warpgroups<Dims>);
  for (std::int64_t row = 0; row < prompt.num_rows; ++row) {
    for (std::int64_t col = 0; col < expected.view().cols; ++col) {
      ASSERT_EQ(found.at(row, col), expected.at(row, col)) << "row " << row << ", column " << col;
    }
  }
}

TEST(MlaPrefillTest, WarpgroupsGiveTheBitsOfOtherKernels) {
  expect_same_rows({.first_position = 0, .num_rows = 1});
  expect_same_rows({.first_position = 0, .num_rows = 64});
  expect_same_rows({.first_position = 37, .num_rows = 100});
  expect_same_rows({.first_position = 191, .num_rows = 130});
  expect_same_rows({.first_position = 0, .num_rows = 257, .softmax_scale = 1.0f});
}

}  // namespace
}  // namespace dsl::cuda
