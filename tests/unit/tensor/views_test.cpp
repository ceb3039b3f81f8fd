// Shards of weights keep every element's scale, also when they begin inside a block.
#include "engine/tensor/views.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

namespace dsl {
namespace {

float scale_at(const WeightView& weight, std::int64_t row, std::int64_t col) {
  const BlockScales& scales = weight.scales;
  const std::int64_t index = (row + scales.first_row) / scales.block_rows * scales.row_stride +
                             (col + scales.first_col) / scales.block_cols;
  return static_cast<const float*>(scales.data)[index];
}

TEST(ViewsTest, ShardsOfShardsKeepElementsAndScales) {
  constexpr std::int64_t kRows = 300;
  constexpr std::int64_t kCols = 270;
  std::vector<std::uint8_t> elements(kRows * kCols);
  std::iota(elements.begin(), elements.end(), 0);
  std::array<float, 9> scales = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  WeightView whole{elements.data(), DType::kF8E4M3, kRows, kCols, kCols, {}};
  whole.scales = {scales.data(), DType::kF32, 3, 128, 128, 0, 0};

  const WeightView shard =
      whole.rows_from(70, 230).cols_from(90, 180).rows_from(65, 100).cols_from(45, 130);
  ASSERT_EQ(shard.out_features, 100);
  ASSERT_EQ(shard.in_features, 130);
  for (std::int64_t row = 0; row < shard.out_features; ++row) {
    for (std::int64_t col = 0; col < shard.in_features; ++col) {
      const auto* data = static_cast<const std::uint8_t*>(shard.data);
      ASSERT_EQ(data[row * shard.row_stride + col], elements[(row + 135) * kCols + col + 135]);
      ASSERT_EQ(scale_at(shard, row, col), scale_at(whole, row + 135, col + 135));
    }
  }
  // Rows 135..234 lie in one row of blocks, columns 135..264 in two blocks.
  EXPECT_EQ(shard.bytes(), 100 * 130 + 2 * 4);
}

TEST(ViewsTest, MatrixPartsAddressTheSameElements) {
  std::vector<float> data(12 * 10);
  std::iota(data.begin(), data.end(), 0.0f);
  const Matrix whole{data.data(), DType::kF32, 12, 8, 10};
  const MatrixView<float> part = whole.rows_from(3, 4).cols_from(2, 5).as<float>();
  EXPECT_EQ(part.rows, 4);
  EXPECT_EQ(part.cols, 5);
  EXPECT_EQ(part.row(1)[3], data[4 * 10 + 5]);
}

TEST(ViewsDeathTest, WrongTypeOrRangeAborts) {
  std::vector<float> data(4);
  const Matrix matrix{data.data(), DType::kF32, 2, 2, 2};
  EXPECT_DEATH(matrix.as<BFloat16>(), "matrix is F32, used as BF16");
  EXPECT_DEATH(matrix.rows_from(1, 2), "range");
}

}  // namespace
}  // namespace dsl
