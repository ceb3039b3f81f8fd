// The backend as nvcc compiled it, with the device that is there or not.
#include <gtest/gtest.h>

#include "engine/kernels/cuda/cuda_ops.h"

namespace dsl {
namespace {

TEST(CudaDeviceTest, OpensTheFirstDeviceOrSaysWhatIsMissing) {
  const auto ops = cuda::make_cuda_ops(0);
  if (!ops) {
    EXPECT_EQ(ops.error().code, ErrorCode::kNotFound);
    EXPECT_NE(ops.error().message.find("CUDA device 0"), std::string::npos);
    EXPECT_FALSE(ops.error().remedy.empty());
    return;
  }
  EXPECT_EQ((*ops)->name(), "cuda");
  EXPECT_TRUE((*ops)->finish().has_value());
}

TEST(CudaDeviceTest, ADeviceThatCannotBeIsAnError) {
  const auto ops = cuda::make_cuda_ops(4096);
  ASSERT_FALSE(ops.has_value());
  EXPECT_EQ(ops.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dsl
