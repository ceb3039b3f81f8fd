// Products of rows and weights in FP8 by warpgroups, whose operands' layout in shared memory the
// emulated device reads as the PTX ISA describes it.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/gemm_inputs.cuh"
#include "engine/kernels/cuda/launcher.h"
#include "engine/kernels/cuda/warpgroup_check.h"
#include "engine/kernels/cuda/warpgroup_gemm.cuh"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

using cuda::GemmSum;

struct TestGroup {
  static constexpr bool kIsKnown = true;
  int num_rows = 0;
};

/// out[side] = x w[side]^T of whole matrices in memory.
template <int kSidesOfGemm, GemmSum kLeafSum>
struct WarpgroupTestGemm {
  using Weight = Float8E4M3;
  using Activation = Float8E4M3;
  using Group = TestGroup;
  static constexpr int kSides = kSidesOfGemm;
  static constexpr GemmSum kSum = kLeafSum;

  cuda::InputRows<Float8E4M3> inputs;
  std::int64_t num_rows;
  cuda::Slices input;
  WeightView weights[kSidesOfGemm];
  float* out;  // [sides or leaves, rows, features]

  Group group(int) const { return {static_cast<int>(num_rows)}; }
  std::int64_t input_row(const Group&, int row) const { return row; }
  const Float8E4M3* row(const Group&, int row) const { return inputs.row(row); }
  const cuda::Slices& slices() const { return input; }
  std::int64_t num_features() const { return weights[0].out_features; }
  const WeightView& weight(const Group&, int side) const { return weights[side]; }
  void store(const Group&, int row, std::int64_t feature,
             const float (&outputs)[kSidesOfGemm]) const {
    for (int side = 0; side < kSidesOfGemm; ++side) *at(side, row, feature) = outputs[side];
  }
  void store_leaf(const Group&, int row, std::int64_t feature, int leaf, float sum) const {
    *at(leaf, row, feature) = sum;
  }
  float* at(int plane, std::int64_t row, std::int64_t feature) const {
    return out + (plane * num_rows + row) * num_features() + feature;
  }
};

/// Random codes without NaN, and scales by slice.
struct QuantisedMatrix {
  std::int64_t rows;
  std::int64_t row_stride;
  std::int64_t scale_stride;
  std::vector<Float8E4M3> codes;
  std::vector<float> scales;

  QuantisedMatrix(Random& random, std::int64_t num_rows, std::int64_t size, int num_slices)
      : rows(num_rows),
        row_stride((size + 15) / 16 * 16),
        scale_stride((num_rows + 3) / 4 * 4),
        codes(static_cast<std::size_t>(rows * row_stride)),
        scales(static_cast<std::size_t>(scale_stride * num_slices)) {
    std::normal_distribution<float> values(0, 100);
    std::uniform_real_distribution<float> factors(0.001f, 0.002f);
    for (Float8E4M3& code : codes) code = to_float8_e4m3(values(random));
    for (float& scale : scales) scale = factors(random);
  }
};

double weight_of(const WeightView& w, std::int64_t feature, std::int64_t i) {
  const BlockScales& scales = w.scales;
  const std::int64_t index = (feature + scales.first_row) / scales.block_rows * scales.row_stride +
                             (i + scales.first_col) / scales.block_cols;
  const double scale = scales.dtype == DType::kF32
                           ? static_cast<const float*>(scales.data)[index]
                           : to_float(static_cast<const Float8E8M0*>(scales.data)[index]);
  return scale * to_float(static_cast<const Float8E4M3*>(w.data)[feature * w.row_stride + i]);
}

/// A sum, and that of the magnitudes of its terms, which bounds the error of any order.
struct Expected {
  double sum = 0;
  double magnitude = 0;

  void add(const Expected& other) {
    sum += other.sum;
    magnitude += other.magnitude;
  }
};

struct Problem {
  std::int64_t features;
  std::int64_t size;
  std::int32_t first_row = 0;
  std::int32_t first_col = 0;
};

template <int kSides, GemmSum kSum>
class WarpgroupProblem {
 public:
  WarpgroupProblem(Random& random, const Problem& problem, std::int64_t num_rows) {
    for (int side = 0; side < kSides; ++side) {
      weights_.push_back(TestWeight::random(random, DType::kF8E4M3,
                                            {.out_features = problem.features,
                                             .in_features = problem.size,
                                             .first_row = problem.first_row,
                                             .first_col = problem.first_col}));
    }
    const auto leaves = kSum == GemmSum::kWhole ? cuda::single_leaf(problem.size)
                                                : cuda::leaf_bounds({problem.size, 0, 1});
    const cuda::Slices slices = cuda::slices_of(weights_[0].view(), leaves);
    x_.emplace(random, num_rows, problem.size, slices.num_slices());
    const int planes = kSum == GemmSum::kLeaves ? kNumLeaves : kSides;
    out_.resize(static_cast<std::size_t>(planes * num_rows * problem.features));
    gemm_ = {{{x_->codes.data(), x_->row_stride, x_->scales.data(), x_->scale_stride}},
             num_rows,
             slices,
             {},
             out_.data()};
    for (int side = 0; side < kSides; ++side) gemm_.weights[side] = weights_[side].view();
  }

  template <int kWarpgroups, int kRows>
  std::vector<float> run(unsigned blocks) {
    using Gemm = WarpgroupTestGemm<kSides, kSum>;
    using Block = cuda::WarpgroupBlock<Gemm, kWarpgroups, kRows>;
    auto stream = cuda::Stream::open(0);
    DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
    cuda::Launcher launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
    std::ranges::fill(out_, kPoison);
    const auto features = gemm_.num_features();
    const cuda::TileGrid grid{
        1, static_cast<int>(cuda::blocks_for(features, Block::Tile::kWeightRows / kSides)),
        static_cast<int>(cuda::blocks_for(gemm_.num_rows, kRows))};
    launcher.run({dim3(blocks), Block::Tile::kBlockThreads, Block::kSharedBytes},
                 cuda::warpgroup_gemm_kernel<Gemm, kWarpgroups, kRows>, gemm_, grid);
    EXPECT_TRUE(launcher.finish().has_value());
    return out_;
  }

  /// Of a row's first slice.
  void spoil_scale(std::int64_t row) {
    x_->scales[static_cast<std::size_t>(row)] = std::numeric_limits<float>::quiet_NaN();
  }

  void expect_right() const {
    const cuda::Slices& slices = gemm_.input;
    for (int side = 0; side < kSides; ++side) {
      for (std::int64_t row = 0; row < gemm_.num_rows; ++row) {
        for (std::int64_t feature = 0; feature < gemm_.num_features(); ++feature) {
          Expected whole;
          for (int leaf = 0; leaf < slices.leaves.num_leaves; ++leaf) {
            const Expected part = leaf_of(side, row, feature, leaf);
            if (kSum == GemmSum::kLeaves) expect_near(*gemm_.at(leaf, row, feature), part);
            whole.add(part);
          }
          if (kSum != GemmSum::kLeaves) expect_near(*gemm_.at(side, row, feature), whole);
        }
      }
    }
  }

 private:
  static constexpr float kPoison = 12345.0f;

  Expected leaf_of(int side, std::int64_t row, std::int64_t feature, int leaf) const {
    Expected expected;
    const cuda::Slices& slices = gemm_.input;
    for (int slice = slices.first[leaf]; slice < slices.first[leaf + 1]; ++slice) {
      const cuda::FeatureRange range = slices.range(leaf, slice);
      const double scale = x_->scales[static_cast<std::size_t>(slice * x_->scale_stride + row)];
      for (std::int64_t i = range.begin; i < range.begin + range.count; ++i) {
        const double term =
            scale * to_float(x_->codes[static_cast<std::size_t>(row * x_->row_stride + i)]) *
            weight_of(gemm_.weights[side], feature, i);
        expected.add({term, std::abs(term)});
      }
    }
    return expected;
  }
  void expect_near(float actual, const Expected& expected) const {
    // One rounding of float32 a term, and a few of scales and slices.
    const double bound = static_cast<double>(x_->row_stride + 16) * 0x1p-24 * expected.magnitude;
    EXPECT_NEAR(actual, expected.sum, bound);
  }

  std::vector<TestWeight> weights_;
  std::optional<QuantisedMatrix> x_;
  std::vector<float> out_;
  WarpgroupTestGemm<kSides, kSum> gemm_;
};

template <int kSides, GemmSum kSum>
void expect_right_and_alike(const Problem& shape, std::int64_t num_rows) {
  SCOPED_TRACE(fmt::format("{} rows of {} features to {}", num_rows, shape.size, shape.features));
  Random random(kSeed);
  WarpgroupProblem<kSides, kSum> problem(random, shape, num_rows);
  const std::vector<float> expected = problem.template run<1, 8>(3);
  problem.expect_right();
  const auto expect_same = [&](std::string_view kernel, const std::vector<float>& actual) {
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << kernel;
  };
  expect_same("32 rows", problem.template run<1, 32>(1));
  expect_same("64 rows", problem.template run<2, 64>(2));
  expect_same("128 rows", problem.template run<2, 128>(1));
  expect_same("160 rows", problem.template run<2, 160>(1));
}

TEST(CudaWarpgroup, MultipliesWholeRows) {
  expect_right_and_alike<1, GemmSum::kWhole>({.features = 70, .size = 1024}, 5);
  // A short last slice, a first one that begins inside a block, tiles of all sizes.
  expect_right_and_alike<1, GemmSum::kWhole>(
      {.features = 150, .size = 304, .first_row = 100, .first_col = 48}, 200);
}

TEST(CudaWarpgroup, MultipliesBothSides) {
  expect_right_and_alike<2, GemmSum::kWhole>({.features = 90, .size = 256}, 41);
}

TEST(CudaWarpgroup, JoinsLeavesAndKeepsThemApart) {
  expect_right_and_alike<1, GemmSum::kTree>({.features = 66, .size = 2048}, 9);
  // Leaves that begin inside vectors and inside scale blocks.
  expect_right_and_alike<1, GemmSum::kTree>({.features = 20, .size = 8 * 37, .first_col = 40}, 70);
  expect_right_and_alike<1, GemmSum::kLeaves>({.features = 20, .size = 8 * 37, .first_col = 40},
                                              70);
}

TEST(CudaWarpgroup, ChecksTheDeviceBeforeItIsUsed) {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  cuda::Launcher launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
  ASSERT_TRUE(launcher.has_warpgroups());
  const Status right = cuda::check_warpgroups(launcher);
  EXPECT_TRUE(right.has_value()) << right.error().to_string();
  set_emulated_swizzle(false);
  const Status wrong = cuda::check_warpgroups(launcher);
  set_emulated_swizzle(true);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_THAT(wrong.error().to_string(), testing::HasSubstr("FP8 products of warpgroups"));
  EXPECT_THAT(wrong.error().to_string(), testing::HasSubstr("DSL_WARPGROUPS=off"));
}

class CudaBf16Products : public testing::Test {
 protected:
  static Device open() {
    auto device = cuda::open_cuda_device(0);
    DSL_CHECK(device.has_value(), "{}", device.error().to_string());
    return std::move(*device);
  }
  ~CudaBf16Products() override {
    set_emulated_swizzle(true);
    round_emulated_products_to_zero(false);
  }
};

TEST_F(CudaBf16Products, GoByWarpgroupsWhereTheirBitsAreTheSame) {
  const Device device = open();
  EXPECT_EQ(device.ops->bf16_products(), "mma.sync");
  testing::internal::CaptureStderr();
  const Status reserved = device.ops->reserve(smallest_limits());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(reserved.has_value()) << reserved.error().to_string();
  EXPECT_EQ(device.ops->bf16_products(), "wgmma");
}

TEST_F(CudaBf16Products, StayWithOtherKernelsWhereWarpgroupsRoundOtherwise) {
  round_emulated_products_to_zero(true);
  const Device device = open();
  testing::internal::CaptureStderr();
  const Status reserved = device.ops->reserve(smallest_limits());
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(reserved.has_value()) << reserved.error().to_string();
  EXPECT_EQ(device.ops->bf16_products(), "mma.sync");
  EXPECT_THAT(log, testing::HasSubstr("products in BF16 stay with mma.sync"));
  EXPECT_THAT(log,
              testing::ContainsRegex("outputs differ, the first at row [0-9]+, feature [0-9]+"));
}

/// Of a model for whose attention there are kernels of warpgroups.
OpsLimits limits_of_deepseek() {
  OpsLimits limits = smallest_limits();
  limits.attention = {2, 128, 64, 128, 512, 0.07f};
  return limits;
}

TEST_F(CudaBf16Products, AttendWhereTheirBitsAreTheSame) {
  const Device device = open();
  testing::internal::CaptureStderr();
  const Status reserved = device.ops->reserve(limits_of_deepseek());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(reserved.has_value()) << reserved.error().to_string();
  EXPECT_EQ(device.ops->attention_products(), "wgmma");
}

TEST_F(CudaBf16Products, DoNotAttendWhereTheyRoundOtherwise) {
  round_emulated_products_to_zero(true);
  const Device device = open();
  testing::internal::CaptureStderr();
  const Status reserved = device.ops->reserve(limits_of_deepseek());
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(reserved.has_value()) << reserved.error().to_string();
  EXPECT_EQ(device.ops->attention_products(), "mma.sync");
  EXPECT_THAT(log, testing::ContainsRegex("attention stays with mma.sync, .*: of a generated token "
                                          "the [a-z]+ of head [0-9]+: "));
}

TEST_F(CudaBf16Products, DoNotAttendForOtherModels) {
  const Device device = open();
  ASSERT_TRUE(device.ops->reserve(smallest_limits()).has_value());
  EXPECT_EQ(device.ops->attention_products(), "mma.sync");
}

TEST_F(CudaBf16Products, AreRefusedWhereTheyAreWrong) {
  set_emulated_swizzle(false);
  const Status reserved = open().ops->reserve(smallest_limits());
  ASSERT_FALSE(reserved.has_value());
  EXPECT_THAT(reserved.error().to_string(), testing::HasSubstr("BF16 products of warpgroups"));
  EXPECT_THAT(reserved.error().to_string(), testing::HasSubstr("DSL_WARPGROUPS=off"));
}

TEST_F(CudaBf16Products, DoWithoutWarpgroupsWhereThatIsAsked) {
  setenv(cuda::kWarpgroupsVariable, "off", 1);
  const Device device = open();
  unsetenv(cuda::kWarpgroupsVariable);
  ASSERT_TRUE(device.ops->reserve(smallest_limits()).has_value());
  EXPECT_EQ(device.ops->bf16_products(), "mma.sync");
}

TEST(CudaWarpgroup, PassesOnWhatIsNotANumber) {
  Random random(kSeed);
  WarpgroupProblem<1, GemmSum::kWhole> problem(random, {.features = 16, .size = 128}, 3);
  problem.spoil_scale(1);
  const std::vector<float> out = problem.run<1, 8>(1);
  for (int i = 0; i < 16; ++i) {
    EXPECT_FALSE(std::isnan(out[static_cast<std::size_t>(i)]));
    EXPECT_TRUE(std::isnan(out[static_cast<std::size_t>(16 + i)]));
    EXPECT_FALSE(std::isnan(out[static_cast<std::size_t>(32 + i)]));
  }
}

}  // namespace
}  // namespace dsl::test
