// Products of warpgroups on a device that has them, emulated or not.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/attention_check.h"
#include "engine/kernels/cuda/bf16_product_check.h"
#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/warpgroup_check.h"
#include "tests/unit/kernels/copying_ops.h"
#include "tests/unit/kernels/environment_override.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

cuda::Launcher open_launcher() {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  return cuda::Launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
}

/// With warpgroups "on" or "off"; those that multiply BF16 have been looked at by then.
std::unique_ptr<Ops> open_ops(const char* wish) {
  const EnvironmentOverride warpgroups(cuda::kWarpgroupsVariable, wish);
  auto device = cuda::open_cuda_device(0);
  DSL_CHECK(device.has_value(), "{}", device.error().to_string());
  const Status reserved = device->ops->reserve(smallest_limits());
  DSL_CHECK(reserved.has_value(), "{}", reserved.error().to_string());
  return make_copying_ops(std::move(*device));
}

TEST(CudaFp8, ProductsAreRightForOperandsOfKnownSums) {
  cuda::Launcher launcher = open_launcher();
  if (!launcher.has_warpgroups()) GTEST_SKIP() << "this device multiplies FP8 as BF16";
  const Status status = cuda::check_warpgroups(launcher);
  EXPECT_TRUE(status.has_value()) << status.error().to_string();
}

/// Where these fail, long prompts or large batches are slow on the device, and nothing else is
/// wrong.
TEST(CudaBf16, ProductsOfWarpgroupsHaveTheBitsOfOtherKernels) {
  cuda::Launcher launcher = open_launcher();
  if (!launcher.has_warpgroups()) GTEST_SKIP() << "this device has none";
  const auto difference = cuda::find_bf16_difference(launcher);
  ASSERT_TRUE(difference.has_value()) << difference.error().to_string();
  EXPECT_EQ(*difference, std::nullopt);
}

TEST(CudaBf16, AttentionOfWarpgroupsHasTheBitsOfOtherKernels) {
  cuda::Launcher launcher = open_launcher();
  if (!launcher.has_warpgroups()) GTEST_SKIP() << "this device has none";
  const auto difference = cuda::find_attention_difference(launcher);
  ASSERT_TRUE(difference.has_value()) << difference.error().to_string();
  EXPECT_EQ(*difference, std::nullopt);
}

/// The same codes multiplied as FP8 and, where that is not wanted, as BF16; in more slices than
/// have room in shared memory at once, with tiles of every size.
TEST(CudaFp8, ProductsAgreeWithThoseInBF16) {
  constexpr std::int64_t kInputs = 8 * 128 + 44;
  constexpr std::int64_t kOutputs = 40;
  Random random(kSeed);
  const auto w = TestWeight::random(random, {DType::kF8E4M3, true},
                                    {.out_features = kOutputs, .in_features = kInputs});
  const auto as_float8 = open_ops("on");
  const auto as_bfloat16 = open_ops("off");
  EXPECT_EQ(as_bfloat16->fp8_products(), "bf16");
  for (const std::int64_t rows : {5, 20, 50, 70}) {
    const auto x = TestMatrix::random(random, DType::kBF16, rows, kInputs);
    const auto product = [&](Ops& ops) {
      TestMatrix out(DType::kF32, rows, kOutputs);
      ops.linear(x.view(), w.view(), out.view());
      EXPECT_TRUE(ops.finish().has_value());
      return out;
    };
    EXPECT_TRUE(is_close(product(*as_float8), product(*as_bfloat16),
                         [&](std::int64_t row, std::int64_t col) {
                           return fp8_product_tolerance(row_norm(x, row), w.row_norm(col));
                         }))
        << rows << " rows";
  }
}

/// Experts whose rows are so many that tiles of every size take them: one tile of 8, 32, 64, 128 or
/// 160 rows, two of 128 and three of 160. Row r is one of those of expert e where r <
/// kGroupRows[e]; other experts fill its choice up.
class ManyRows {
 public:
  static constexpr std::array<std::int64_t, 8> kGroupRows = {5, 20, 50, 100, 131, 200, 330, 400};
  static constexpr std::int64_t kRows = 400;
  static constexpr std::int64_t kTopK = std::ssize(kGroupRows);
  static constexpr std::int64_t kExperts = 2 * kTopK;
  static constexpr std::int64_t kHidden = 140;
  static constexpr std::int64_t kInner = 70;

  ManyRows(Random& random, const WeightKind& kind)
      : x_(TestMatrix::random(random, DType::kBF16, kRows, kHidden)),
        shares_(static_cast<std::size_t>(kRows * kTopK), 0.25f) {
    for (std::int64_t i = 0; i < 3 * kExperts; ++i) {
      const bool is_down = i % 3 == 2;
      weights_.push_back(TestWeight::random(
          random, kind,
          {.out_features = is_down ? kHidden : kInner, .in_features = is_down ? kInner : kHidden}));
    }
    for (std::size_t e = 0; e < weights_.size(); e += 3) {
      experts_.push_back({weights_[e].view(), weights_[e + 1].view(), weights_[e + 2].view()});
    }
    for (std::int64_t row = 0; row < kRows; ++row) {
      const auto begin = std::ranges::upper_bound(kGroupRows, row) - kGroupRows.begin();
      for (std::int64_t k = 0; k < kTopK; ++k) {
        ids_.push_back(static_cast<std::int32_t>(begin + k));
      }
    }
  }

  /// What the experts make of these rows, one behind the other.
  std::vector<float> run(Ops& ops, std::int64_t first_row, std::int64_t rows) {
    const LeafSplit split{kExperts, 0, 1};
    std::vector<float> sums(static_cast<std::size_t>(split.num_leaves() * rows * kHidden));
    std::vector<float> out(static_cast<std::size_t>(rows * kHidden));
    ops.routed_experts(
        x_.view().rows_from(first_row, rows),
        {ids_.data() + first_row * kTopK, shares_.data() + first_row * kTopK, rows, kTopK},
        experts_, split, {sums.data(), split.num_leaves(), rows, kHidden},
        {out.data(), rows, kHidden, kHidden});
    EXPECT_TRUE(ops.finish().has_value());
    return out;
  }

 private:
  TestMatrix x_;
  std::vector<TestWeight> weights_;
  std::vector<ExpertWeights> experts_;
  std::vector<std::int32_t> ids_;
  std::vector<float> shares_;
};

void expect_the_bits_of_few(const WeightKind& kind) {
  Random random(kSeed);
  ManyRows layer(random, kind);
  const auto ops = open_ops("on");
  const std::vector<float> whole = layer.run(*ops, 0, ManyRows::kRows);
  for (const auto& [first, rows] : {std::pair(0, 8), std::pair(126, 40), std::pair(325, 75)}) {
    const std::vector<float> part = layer.run(*ops, first, rows);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first * ManyRows::kHidden))
        << rows << " rows from " << first;
  }
}

TEST(CudaFp8, ExpertsOfManyRowsHaveTheBitsOfFew) { expect_the_bits_of_few({DType::kF8E4M3, true}); }

TEST(CudaBf16, ExpertsOfManyRowsHaveTheBitsOfFew) { expect_the_bits_of_few(DType::kBF16); }

}  // namespace
}  // namespace dsl::test
