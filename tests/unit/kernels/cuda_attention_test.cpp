// Attention of so many heads and rows that on Hopper warpgroups compute it. What a row gets there
// must be what it gets alone, by kernels for few.
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/cuda/attention_splits.h"
#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/unit/kernels/copying_ops.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr MlaShape kManyHeads{66, 128, 64, 128, 512, 0.07f};
constexpr std::int64_t kQueryFeatures = 192;
/// Its splits have 512 positions, the last one a single one; the launch has eight for every row.
constexpr std::int64_t kLongestRow = 2560;
/// The first whose splits have 256 positions; all four are full.
constexpr std::int64_t kFullRow = 1023;
constexpr std::int64_t kBatchRows = 9;

// A context's last position is one less than it has positions.
static_assert(cuda::split_positions(1022) == 128 && cuda::split_positions(1023) == 256);
static_assert(cuda::split_positions(2046) == 256 && cuda::split_positions(2047) == 512);
static_assert(cuda::split_positions(4094) == 512 && cuda::split_positions(4095) == 1024);
static_assert(cuda::num_splits(4094) == 8 && cuda::num_splits(4095) == 4);

std::unique_ptr<Ops> open_ops() {
  auto device = cuda::open_cuda_device(0);
  DSL_CHECK(device.has_value(), "{}", device.error().to_string());
  OpsLimits limits = smallest_limits();
  limits.max_rows = kBatchRows;
  limits.max_positions = kLongestRow + 1;
  limits.attention = kManyHeads;
  const Status reserved = device->ops->reserve(limits);
  DSL_CHECK(reserved.has_value(), "{}", reserved.error().to_string());
  return make_copying_ops(std::move(*device));
}

void expect_rows_as_alone(const TestCache& cache) {
  static_assert(cuda::num_splits(kLongestRow) == 6 && kLongestRow % 512 == 0);
  Random random(kSeed);
  const auto ops = open_ops();
  const auto pool = make_pool(2);
  const auto reference = make_variant("scalar", *pool);
  const auto kv_b = TestWeight::random(
      random, DType::kBF16, {.out_features = kManyHeads.num_heads * 256, .in_features = 512});
  const auto q =
      TestMatrix::random(random, DType::kBF16, kBatchRows, kManyHeads.num_heads * kQueryFeatures);
  std::vector<AttentionSegment> segments;
  for (std::int64_t row = 0; row < kBatchRows; ++row) {
    const std::int64_t position = row == 3                ? kLongestRow
                                  : row == kBatchRows - 1 ? kFullRow
                                                          : 29 * row;
    segments.push_back({row, 1, position, MlaForm::kAbsorbed, cache.block_table});
  }
  const TestMatrix batch(DType::kBF16, kBatchRows, kManyHeads.num_heads * 128);
  ops->mla_attention(q.view(), kv_b.view(), cache.view, segments, kManyHeads, batch.view());
  ASSERT_TRUE(ops->finish().has_value());
  EXPECT_TRUE(batch.padding_untouched());

  for (const std::int64_t row : {std::int64_t{0}, std::int64_t{3}, kBatchRows - 1}) {
    const TestMatrix alone(DType::kBF16, 1, batch.view().cols);
    const TestMatrix expected = alone.clone();
    AttentionSegment segment = segments[static_cast<std::size_t>(row)];
    segment.first_row = 0;
    const auto attend = [&](Ops& by, const TestMatrix& out) {
      by.mla_attention(q.view().rows_from(row, 1), kv_b.view(), cache.view, {&segment, 1},
                       kManyHeads, out.view());
    };
    attend(*ops, alone);
    attend(*reference, expected);
    double largest = 0;
    for (std::int64_t col = 0; col < expected.view().cols; ++col) {
      largest = std::max<double>(largest, std::abs(expected.at(0, col)));
    }
    for (std::int64_t col = 0; col < expected.view().cols; ++col) {
      ASSERT_EQ(batch.at(row, col), alone.at(0, col)) << "row " << row << ", column " << col;
      // A few roundings to BF16, as in attention_test.cpp.
      ASSERT_NEAR(batch.at(row, col), expected.at(0, col), largest * 0x1p-6)
          << "row " << row << ", column " << col;
    }
  }
}

TestCache longest_row() {
  Random random(kSeed);
  return TestCache::random(random, DType::kBF16, kLongestRow + 1, 64, 512, 64);
}

TEST(CudaAttention, RowsOfABatchAreWhatTheyAreAlone) { expect_rows_as_alone(longest_row()); }

TEST(CudaAttention, SoAreThoseOfAnFp8Cache) { expect_rows_as_alone(longest_row().quantised()); }

// Of the kernels that project rows, a block of many has half as much shared memory again as one of
// few, and both more than a kernel has unasked.
TEST(CudaAttention, FewRowsLeaveManyRowsTheirSharedMemory) {
  constexpr MlaShape kOneHead{1, 128, 64, 128, 512, 0.07f};
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kFewRows = 17;  // fewer would join their splits themselves
  Random random(kSeed);
  const auto ops = open_ops();
  const auto cache = TestCache::random(random, DType::kBF16, kRows, 64, 512, 64);
  const auto kv_b =
      TestWeight::random(random, DType::kBF16, {.out_features = 256, .in_features = 512});
  const auto q = TestMatrix::random(random, DType::kBF16, kRows, kQueryFeatures);
  std::vector<AttentionSegment> segments;
  for (std::int64_t row = 0; row < kRows; ++row) {
    segments.push_back({row, 1, row % 8, MlaForm::kAbsorbed, cache.block_table});
  }
  const auto attend = [&](std::int64_t rows) {
    const TestMatrix out(DType::kBF16, rows, 128);
    ops->mla_attention(q.view().rows_from(0, rows), kv_b.view(), cache.view,
                       std::span(segments).first(static_cast<std::size_t>(rows)), kOneHead,
                       out.view());
    return out.bits();
  };
  const std::string many = attend(kRows);
  attend(kFewRows);
  EXPECT_EQ(attend(kRows), many);
  EXPECT_TRUE(ops->finish().has_value());
}

TEST(CudaAttention, PromptsAreWhatTheirChunksAre) {
  constexpr std::int64_t kPrompt = 150;
  constexpr MlaShape kTwoHeads{2, 128, 64, 128, 512, 0.07f};
  Random random(kSeed);
  const auto ops = open_ops();
  const auto cache = TestCache::random(random, DType::kBF16, kPrompt, 64, 512, 64);
  const auto kv_b =
      TestWeight::random(random, DType::kBF16, {.out_features = 2 * 256, .in_features = 512});
  const auto q = TestMatrix::random(random, DType::kBF16, kPrompt, 2 * kQueryFeatures);
  const TestMatrix whole(DType::kBF16, kPrompt, 2 * 128);
  const TestMatrix chunks = whole.clone();
  const auto attend = [&](std::int64_t first, std::int64_t count, const TestMatrix& out) {
    const AttentionSegment segment{0, count, first, MlaForm::kExpanded, cache.block_table};
    ops->mla_attention(q.view().rows_from(first, count), kv_b.view(), cache.view, {&segment, 1},
                       kTwoHeads, out.view().rows_from(first, count));
  };
  attend(0, kPrompt, whole);
  for (std::int64_t first = 0; first < kPrompt; first += 50) attend(first, 50, chunks);
  ASSERT_TRUE(ops->finish().has_value());
  for (std::int64_t row = 0; row < kPrompt; ++row) {
    for (std::int64_t col = 0; col < 2 * 128; ++col) {
      ASSERT_EQ(whole.at(row, col), chunks.at(row, col)) << "row " << row << ", column " << col;
    }
  }
}

}  // namespace
}  // namespace dsl::test
