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

/// The same codes multiplied as FP8 and, where that is not wanted, as BF16.
TEST(CudaFp8, ProductsAgreeWithThoseInBF16) {
  constexpr std::int64_t kRows = 5;
  constexpr std::int64_t kInputs = 300;
  constexpr std::int64_t kOutputs = 40;
  Random random(kSeed);
  const auto w = TestWeight::random(random, {DType::kF8E4M3, true},
                                    {.out_features = kOutputs, .in_features = kInputs});
  const auto x = TestMatrix::random(random, DType::kBF16, kRows, kInputs);
  const auto product = [&](const char* wish) {
    setenv(cuda::kWarpgroupsVariable, wish, 1);
    auto device = cuda::open_cuda_device(0);
    unsetenv(cuda::kWarpgroupsVariable);
    DSL_CHECK(device.has_value(), "{}", device.error().to_string());
    if (std::string_view(wish) == "off") {
      EXPECT_EQ(device->ops->fp8_products(), "bf16");
    }
    const auto ops = make_copying_ops(std::move(*device));
    TestMatrix out(DType::kF32, kRows, kOutputs);
    ops->linear(x.view(), w.view(), out.view());
    EXPECT_TRUE(ops->finish().has_value());
    return out;
  };
  EXPECT_TRUE(is_close(product("on"), product("off"), [&](std::int64_t row, std::int64_t col) {
    return fp8_product_tolerance(row_norm(x, row), w.row_norm(col));
  }));
}

}  // namespace
}  // namespace dsl::test
