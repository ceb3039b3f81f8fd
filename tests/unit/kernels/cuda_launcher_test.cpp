// What the launcher keeps on a device for ops.
#include <gtest/gtest.h>

#include <vector>

#include "engine/kernels/cuda/launcher.h"
#include "tests/emulated_cuda/emulated_devices.h"

namespace dsl::test {
namespace {

std::shared_ptr<const cuda::Stream> open_stream() {
  auto stream = cuda::Stream::open(0);
  DSL_CHECK(stream.has_value(), "{}", stream.error().to_string());
  return std::make_shared<const cuda::Stream>(std::move(*stream));
}

class CudaLauncherTest : public testing::Test {
 protected:
  CudaLauncherTest() { set_emulated_reuse(true); }
  ~CudaLauncherTest() override { set_emulated_reuse(false); }
};

/// What was recorded may hold other sizes, and shards must decide alike: the address is the
/// driver's choice.
TEST_F(CudaLauncherTest, WhatGrowsAtItsOldAddressHasMoved) {
  cuda::Launcher launcher(open_stream());
  const auto* const scratch = launcher.scratch<float>(1000);
  const std::int64_t before_scratch = launcher.moves();
  EXPECT_EQ(launcher.scratch<float>(2000), scratch);
  EXPECT_EQ(launcher.moves(), before_scratch + 1);
  EXPECT_EQ(launcher.scratch<float>(1500), scratch);
  EXPECT_EQ(launcher.moves(), before_scratch + 1);

  cuda::DeviceCopy<float> copy("test");
  const std::vector<float> few(10, 1.0F);
  const std::vector<float> many(20000, 2.0F);
  const float* const values = launcher.copy(copy, std::span(few));
  const std::int64_t before_copy = launcher.moves();
  EXPECT_EQ(launcher.copy(copy, std::span(many)), values);
  EXPECT_EQ(launcher.moves(), before_copy + 1);
  EXPECT_EQ(launcher.copy(copy, std::span(few)), values);
  EXPECT_EQ(launcher.moves(), before_copy + 1);
}

TEST_F(CudaLauncherTest, AnEmptyArrayIsNotCopied) {
  cuda::Launcher launcher(open_stream());
  cuda::DeviceCopy<float> copy("test");
  launcher.copy(copy, std::span<const float>());
  const Status never_copied = launcher.finish();
  EXPECT_TRUE(never_copied.has_value()) << never_copied.error().to_string();
  const std::vector<float> values(10, 1.0F);
  const float* const copied = launcher.copy(copy, std::span(values));
  EXPECT_EQ(launcher.copy(copy, std::span<const float>()), copied);
  const Status copied_before = launcher.finish();
  EXPECT_TRUE(copied_before.has_value()) << copied_before.error().to_string();
}

}  // namespace
}  // namespace dsl::test
