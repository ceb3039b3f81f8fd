// What becomes of a row that is multiplied with an FP8 weight, against the formula in scalar code.
#include "engine/kernels/quantised_inputs.h"

#include <cmath>
#include <limits>

#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

WeightView weight_of(std::int64_t in_features, std::int32_t first_col) {
  WeightView w{nullptr, DType::kF8E4M3, 1, in_features, in_features, {}, true};
  w.scales.first_col = first_col;
  return w;
}

/// One feature at a time: the group of feature k is all features of its leaf in its block.
std::vector<float> expected_row(const std::vector<float>& row, std::int64_t first_col,
                                const LeafSplit* split) {
  const auto leaf_of = [&](std::int64_t k) {
    int leaf = 0;
    while (split != nullptr && split->begin(leaf + 1) <= k) ++leaf;
    return leaf;
  };
  std::vector<float> values(row.size());
  for (std::size_t k = 0; k < row.size(); ++k) {
    float largest = 0;
    for (std::size_t other = 0; other < row.size(); ++other) {
      const auto a = static_cast<std::int64_t>(k);
      const auto b = static_cast<std::int64_t>(other);
      if ((a + first_col) / 128 != (b + first_col) / 128 || leaf_of(a) != leaf_of(b)) continue;
      if (!std::isfinite(row[other])) largest = kNaN;
      if (!std::isnan(largest)) largest = std::max(largest, std::abs(row[other]));
    }
    const float scale = largest / 448.0f == 0.0f ? 1.0f : largest / 448.0f;
    values[k] = to_float(to_float8_e4m3(row[k] / scale)) * scale;
  }
  return values;
}

void expect_row(const std::vector<float>& row, std::int32_t first_col, const LeafSplit* split) {
  std::vector<float> actual = row;
  quantise_inputs(weight_of(std::ssize(row), first_col), split, actual.data());
  const std::vector<float> expected = expected_row(row, first_col, split);
  for (std::size_t k = 0; k < row.size(); ++k) {
    if (std::isnan(expected[k])) {
      EXPECT_TRUE(std::isnan(actual[k])) << k << " of " << row.size();
    } else {
      EXPECT_EQ(actual[k], expected[k]) << k << " of " << row.size() << ", " << row[k];
    }
  }
}

TEST(QuantisedInputs, RowsOfAllSizesAndLeavesFollowTheFormula) {
  Random random(kSeed);
  for (const float deviation : {1e-40f, 1e-3f, 1.0f, 1e30f}) {
    std::normal_distribution<float> normal(0, deviation);
    for (const std::int64_t size : {1, 7, 127, 128, 129, 333, 8 * 37, 1024}) {
      std::vector<float> row(static_cast<std::size_t>(size));
      for (std::size_t k = 0; k < row.size(); ++k) {
        row[k] = normal(random) * (k % 5 == 0 ? 1e-4f : 1.0f);
      }
      expect_row(row, 0, nullptr);
      expect_row(row, 77, nullptr);
      if (size % 8 != 0) continue;
      for (const int shards : {1, 2, 8}) {
        const LeafSplit split{size * shards, shards - 1, shards};
        expect_row(row, 77, &split);
      }
    }
  }
}

TEST(QuantisedInputs, EveryCodeAndEveryTieIsRoundedToEven) {
  // The scale is 1 beside a value of 448.
  for (int first = 0; first < 127; ++first) {
    const float low = to_float(Float8E4M3{static_cast<std::uint8_t>(first)});
    const float high =
        first == 126 ? 448.0f : to_float(Float8E4M3{static_cast<std::uint8_t>(first + 1)});
    const float middle = (low + high) / 2;
    expect_row({448.0f, low, -low, middle, -middle, std::nextafter(middle, 0.0f),
                std::nextafter(middle, 500.0f)},
               0, nullptr);
  }
}

TEST(QuantisedInputs, SpecialValuesStayInTheirGroup) {
  const float denormal = std::numeric_limits<float>::denorm_min();
  expect_row(std::vector<float>(130, 0.0f), 0, nullptr);
  expect_row({0.0f, -0.0f, denormal, -denormal}, 0, nullptr);
  expect_row({300 * denormal, -627 * denormal, 1000 * denormal}, 0, nullptr);
  expect_row({std::numeric_limits<float>::max(), 1.0f, 0.0f}, 0, nullptr);
  for (const float special : {kInfinity, -kInfinity, kNaN}) {
    std::vector<float> row(300, 0.5f);
    row[200] = special;
    std::vector<float> actual = row;
    quantise_inputs(weight_of(300, 0), nullptr, actual.data());
    for (std::size_t k = 0; k < row.size(); ++k) {
      EXPECT_EQ(std::isnan(actual[k]), k / 128 == 1) << k;
    }
    expect_row(row, 0, nullptr);
  }
}

TEST(QuantisedInputs, ShardsSeeTheGroupsOfOneProcess) {
  Random random(kSeed);
  for (const std::int64_t size : {8 * 37, 8 * 128, 8 * 200}) {
    std::vector<float> row(static_cast<std::size_t>(size));
    for (float& value : row) value = std::normal_distribution<float>()(random);
    std::vector<float> whole = row;
    const LeafSplit one{size, 0, 1};
    const WeightView weight = weight_of(size, 0);
    quantise_inputs(weight, &one, whole.data());
    for (const int shards : {2, 4, 8}) {
      std::vector<float> joined = row;
      for (int shard = 0; shard < shards; ++shard) {
        const LeafSplit split{size, shard, shards};
        const std::int64_t first = shard * split.local_size();
        quantise_inputs(weight_of(split.local_size(), static_cast<std::int32_t>(first % 128)),
                        &split, joined.data() + first);
      }
      EXPECT_EQ(joined, whole) << size << " features, " << shards << " shards";
    }
  }
}

}  // namespace
}  // namespace dsl::test
