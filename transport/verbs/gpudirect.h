// GPUDirect RDMA: whether an RDMA device of this machine can read and write the memory of a GPU.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dsl::verbs {

/// What the kernel says, from files below its root.
struct GpuDirectKernel {
  std::string peer_module;  // "nvidia_peermem" or "nv_peer_mem"; empty where neither is loaded
  /// The other way, for which no module is needed: NVIDIA's open kernel modules on Linux 5.12 or
  /// later. Whether an adapter's driver takes part shows when memory is registered.
  bool has_dma_buf = false;
};
GpuDirectKernel find_gpudirect_kernel(const std::filesystem::path& root = "/");

struct GpuDirectNeeds {
  bool has_rdma_port = false;  // a hardware adapter's active port
  bool ucx_has_cuda = false;   // UCX carries CUDA memory
  GpuDirectKernel kernel;
};

/// Whether all is there that can be known before memory is registered, and what is not.
struct GpuDirect {
  struct Missing {
    std::string what;
    std::string remedy;
  };
  /// "nvidia_peermem", "nv_peer_mem" or "dma-buf"; empty where something is missing.
  std::string way;
  std::vector<Missing> missing;
};
GpuDirect judge_gpudirect(const GpuDirectNeeds& needs);

/// Of this machine.
GpuDirect find_gpudirect(bool ucx_has_cuda);

/// "GPUDirect RDMA by nvidia_peermem", or "no GPUDirect RDMA: WHAT (REMEDY); WHAT (REMEDY)".
std::string describe(const GpuDirect& gpudirect);

}  // namespace dsl::verbs
