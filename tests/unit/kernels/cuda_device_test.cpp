// The backend as nvcc compiled it, with the device that is there or not.
#include <gtest/gtest.h>

#include "engine/kernels/cuda/cuda_ops.h"

namespace dsl {
namespace {

TEST(CudaDeviceTest, OpensTheFirstDeviceOrSaysWhatIsMissing) {
  const auto device = cuda::open_cuda_device(0);
  if (!device) {
    EXPECT_EQ(device.error().code, ErrorCode::kNotFound);
    EXPECT_NE(device.error().message.find("CUDA device 0"), std::string::npos);
    EXPECT_FALSE(device.error().remedy.empty());
    return;
  }
  EXPECT_EQ(device->ops->name(), "cuda");
  EXPECT_TRUE(device->ops->finish().has_value());
}

TEST(CudaDeviceTest, ADeviceThatCannotBeIsAnError) {
  const auto device = cuda::open_cuda_device(4096);
  ASSERT_FALSE(device.has_value());
  EXPECT_EQ(device.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dsl
