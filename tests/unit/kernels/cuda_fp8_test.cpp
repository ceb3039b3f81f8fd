// Products of warpgroups on a device that has them, emulated or not.
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "engine/kernels/cuda/attention_check.h"
#include "engine/kernels/cuda/bf16_product_check.h"
#include "engine/kernels/cuda/cuda_ops.h"
#include "engine/kernels/cuda/warpgroup_check.h"
#include "tests/unit/kernels/copying_ops.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {
namespace {

cuda::Launcher open_launcher() {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  return cuda::Launcher(std::make_shared<const cuda::Stream>(std::move(*stream)));
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
  const auto open_ops = [](const char* wish) {
    setenv(cuda::kWarpgroupsVariable, wish, 1);
    auto device = cuda::open_cuda_device(0);
    unsetenv(cuda::kWarpgroupsVariable);
    DSL_CHECK(device.has_value(), "{}", device.error().to_string());
    return make_copying_ops(std::move(*device));
  };
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

}  // namespace
}  // namespace dsl::test
