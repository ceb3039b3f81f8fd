// What of GPUDirect RDMA is found in a kernel's files, and what is said to be missing.
#include "transport/verbs/gpudirect.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

namespace dsl::verbs {
namespace {

using ::testing::HasSubstr;

constexpr const char* kOpenDriver =
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n";
constexpr const char* kClosedDriver =
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Release Build\n";

class GpuDirectTest : public ::testing::Test {
 protected:
  GpuDirectTest() { std::filesystem::remove_all(root_); }
  ~GpuDirectTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  GpuDirectKernel find() const { return find_gpudirect_kernel(root_); }

  const std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("dsl_gpudirect_test_" + std::to_string(::getpid()));
};

TEST_F(GpuDirectTest, AMachineWithoutAnythingHasNoWay) {
  EXPECT_EQ(find().peer_module, "");
  EXPECT_FALSE(find().has_dma_buf);
}

TEST_F(GpuDirectTest, ALoadedModuleIsFoundByItsWholeName) {
  write("proc/modules",
        "nvidia_peermem_other 1 0 - Live 0x0\nib_core 1 1 nvidia_peermem, Live 0x0\n");
  EXPECT_EQ(find().peer_module, "");
  write("proc/modules", "ib_core 1 1 nv_peer_mem, Live 0x0\nnv_peer_mem 16384 0 - Live 0x0\n");
  EXPECT_EQ(find().peer_module, "nv_peer_mem");
  write("sys/module/nvidia_peermem/refcnt", "0\n");
  EXPECT_EQ(find().peer_module, "nvidia_peermem");
}

TEST_F(GpuDirectTest, DmaBufNeedsTheOpenModulesAndALateKernel) {
  write("proc/driver/nvidia/version", kOpenDriver);
  EXPECT_FALSE(find().has_dma_buf) << "the kernel's release is unknown";
  for (const auto& [release, has] : {std::pair{"5.4.0-100-generic\n", false},
                                     {"5.12.0\n", true},
                                     {"5.9.1\n", false},
                                     {"6.1.0-18-amd64\n", true},
                                     {"nonsense\n", false}}) {
    write("proc/sys/kernel/osrelease", release);
    EXPECT_EQ(find().has_dma_buf, has) << release;
  }
  write("proc/sys/kernel/osrelease", "6.1.0\n");
  write("proc/driver/nvidia/version", kClosedDriver);
  EXPECT_FALSE(find().has_dma_buf);
}

TEST_F(GpuDirectTest, WhatIsMissingIsSaidWithItsRemedy) {
  const std::string text = describe(judge_gpudirect({}));
  for (const char* part :
       {"no GPUDirect RDMA: ", "active port", "UCX built with CUDA", "modprobe nvidia_peermem"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_EQ(judge_gpudirect({true, false, {"nvidia_peermem", false}}).missing.size(), 1U);
  EXPECT_EQ(describe(judge_gpudirect({true, true, {"nvidia_peermem", true}})),
            "GPUDirect RDMA by nvidia_peermem");
  EXPECT_EQ(describe(judge_gpudirect({true, true, {"", true}})), "GPUDirect RDMA by dma-buf");
}

}  // namespace
}  // namespace dsl::verbs
