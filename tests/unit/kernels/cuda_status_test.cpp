// What errors of CUDA tell a user.
#include "engine/runtime/cuda/cuda_status.h"

#include <gtest/gtest.h>

#include <string>

namespace dsl::test {
namespace {

struct Told {
  cudaError_t error;
  const char* remedy;  // a part of it
  bool tells_versions = false;
};

class CudaStatusTest : public testing::TestWithParam<Told> {};

TEST_P(CudaStatusTest, ADeviceThatCannotBeUsedIsToldWithItsOwnRemedy) {
  const Told& told = GetParam();
  const Status status = cuda::cuda_status(told.error, "using CUDA device 0");
  ASSERT_FALSE(status.has_value());
  const Error& error = status.error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_NE(error.message.find("using CUDA device 0: "), std::string::npos) << error.to_string();
  EXPECT_NE(error.remedy.find(told.remedy), std::string::npos) << error.to_string();
  const bool has_versions =
      error.message.find("the driver is for CUDA 13.0, this build is of 13.0") != std::string::npos;
  EXPECT_EQ(has_versions, told.tells_versions) << error.to_string();
}

INSTANTIATE_TEST_SUITE_P(
    Errors, CudaStatusTest,
    testing::Values(Told{cudaErrorNoDevice, "CUDA_VISIBLE_DEVICES"},
                    Told{cudaErrorInsufficientDriver, "driver", true},
                    Told{cudaErrorStubLibrary, "stubs"},
                    Told{cudaErrorDevicesUnavailable, "--compute-mode"},
                    Told{cudaErrorNoKernelImageForDevice, "CMAKE_CUDA_ARCHITECTURES"},
                    Told{cudaErrorUnsupportedPtxVersion, "update the driver", true},
                    Told{cudaErrorSystemNotReady, "fabric manager"},
                    Told{cudaErrorSystemDriverMismatch, "reboot", true},
                    Told{cudaErrorCompatNotSupportedOnDevice, "cuda-compat", true}));

TEST(CudaStatus, OtherFailuresAreInternal) {
  EXPECT_EQ(cuda::cuda_status(cudaErrorInvalidValue, "test").error().code, ErrorCode::kInternal);
  EXPECT_EQ(cuda::cuda_status(cudaErrorMemoryAllocation, "test").error().code,
            ErrorCode::kOutOfMemory);
  EXPECT_TRUE(cuda::cuda_status(cudaSuccess, "test").has_value());
}

}  // namespace
}  // namespace dsl::test
