#include "engine/model/parameters.h"

#include <gtest/gtest.h>

#include <random>

namespace dsl::model {
namespace {

/// A whole weight of FP8 with a scale for each block; its bytes and scales are random.
struct BlockScaledWeight {
  static constexpr std::int64_t kRows = 96;
  static constexpr std::int64_t kCols = 80;
  static constexpr std::int32_t kBlock = 16;

  explicit BlockScaledWeight(std::mt19937& random)
      : codes(kRows * kCols), scales(kRows / kBlock * (kCols / kBlock)) {
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random());
    for (float& scale : scales) scale = static_cast<float>(random() % 1000);
  }
  WeightView view() const {
    return {codes.data(), DType::kF8E4M3,
            kRows,        kCols,
            kCols,        {scales.data(), DType::kF32, kCols / kBlock, kBlock, kBlock, 0, 0}};
  }

  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
};

std::uint8_t code_at(const WeightView& weight, std::int64_t row, std::int64_t col) {
  return static_cast<const std::uint8_t*>(weight.data)[row * weight.row_stride + col];
}

float scale_at(const WeightView& weight, std::int64_t row, std::int64_t col) {
  const BlockScales& scales = weight.scales;
  return static_cast<const float*>(
      scales.data)[(row + scales.first_row) / scales.block_rows * scales.row_stride +
                   (col + scales.first_col) / scales.block_cols];
}

/// Property: whatever shard a view is, its copy has the same elements under the same scales.
TEST(ParametersTest, CopiesOfRandomShardsAreWhatTheShardsWere) {
  constexpr unsigned kSeed = 20261128;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const BlockScaledWeight whole(random);
  const std::vector<float> norm = {1, 2, 3};
  HostMemory memory;
  for (int trial = 0; trial < 200; ++trial) {
    const auto first_row = static_cast<std::int64_t>(random() % BlockScaledWeight::kRows);
    const auto first_col = static_cast<std::int64_t>(random() % BlockScaledWeight::kCols);
    const WeightView rows =
        whole.view().rows_from(first_row, 1 + static_cast<std::int64_t>(random()) %
                                                  (BlockScaledWeight::kRows - first_row));
    const WeightView shard =
        rows.cols_from(first_col, 1 + static_cast<std::int64_t>(random()) %
                                          (BlockScaledWeight::kCols - first_col));
    WeightView placed_rows = rows;
    WeightView placed_shard = shard;
    VectorView placed_norm{norm.data(), DType::kF32, 3};
    VectorView absent;
    std::int64_t copied = 0;
    const auto buffer = place_parameters({{&placed_rows, &placed_shard}, {&absent, &placed_norm}},
                                         memory, [&](std::int64_t done, std::int64_t total) {
                                           EXPECT_EQ(total, rows.bytes() + shard.bytes());
                                           copied = done;
                                         });
    ASSERT_TRUE(buffer.has_value());
    EXPECT_EQ(copied, rows.bytes() + shard.bytes());
    EXPECT_EQ(absent.data, nullptr);
    EXPECT_EQ(static_cast<const float*>(placed_norm.data)[2], 3);
    EXPECT_NE(placed_norm.data, norm.data());
    for (const auto& [placed, original] :
         {std::pair{placed_rows, rows}, std::pair{placed_shard, shard}}) {
      EXPECT_NE(placed.data, original.data);
      EXPECT_EQ(placed.bytes(), original.bytes());
      for (std::int64_t row = 0; row < original.out_features; ++row) {
        for (std::int64_t col = 0; col < original.in_features; ++col) {
          ASSERT_EQ(code_at(placed, row, col), code_at(original, row, col));
          ASSERT_EQ(scale_at(placed, row, col), scale_at(original, row, col));
        }
      }
    }
  }
}

}  // namespace
}  // namespace dsl::model
