#include "transport/verbs/gpudirect.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>

#include "transport/verbs/rdma_devices.h"

namespace dsl::verbs {
namespace {

constexpr std::string_view kPeerModules[] = {"nvidia_peermem", "nv_peer_mem"};
/// Linux 5.12 brought DMA-BUF to RDMA's core.
constexpr int kDmaBufMajor = 5;
constexpr int kDmaBufMinor = 12;

std::string first_line(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

/// A line of /proc/modules begins with the module's name; a module that is built in, or whose
/// /proc/modules a container hides, has a folder in /sys/module.
bool is_loaded(const std::filesystem::path& root, std::string_view module) {
  std::error_code ignored;
  if (std::filesystem::exists(root / "sys/module" / module, ignored)) return true;
  std::ifstream modules(root / "proc/modules");
  for (std::string line; std::getline(modules, line);) {
    if (line.starts_with(module) && line.substr(module.size()).starts_with(' ')) return true;
  }
  return false;
}

/// "6.1.0-18-amd64" against major and minor.
bool is_at_least(const std::string& release, int major, int minor) {
  std::istringstream text(release);
  int found_major = 0;
  int found_minor = 0;
  char dot = 0;
  if (!(text >> found_major >> dot >> found_minor)) return false;
  return found_major > major || (found_major == major && found_minor >= minor);
}

bool has_active_hardware_port() {
  auto devices = list_rdma_devices();
  if (!devices) return false;
  std::erase_if(*devices, [](const RdmaDevice& device) { return device.software; });
  return has_active_port(*devices);
}

}  // namespace

GpuDirectKernel find_gpudirect_kernel(const std::filesystem::path& root) {
  GpuDirectKernel kernel;
  for (const std::string_view module : kPeerModules) {
    if (kernel.peer_module.empty() && is_loaded(root, module)) kernel.peer_module = module;
  }
  const std::string driver = first_line(root / "proc/driver/nvidia/version");
  kernel.has_dma_buf =
      driver.find("Open Kernel Module") != std::string::npos &&
      is_at_least(first_line(root / "proc/sys/kernel/osrelease"), kDmaBufMajor, kDmaBufMinor);
  return kernel;
}

GpuDirect judge_gpudirect(const GpuDirectNeeds& needs) {
  GpuDirect result;
  if (!needs.has_rdma_port) {
    result.missing.push_back({"no RDMA adapter has an active port",
                              "install one (Soft-RoCE is none), or bring its link up"});
  }
  if (!needs.ucx_has_cuda) {
    result.missing.push_back({"UCX carries no CUDA memory", "install a UCX built with CUDA"});
  }
  if (needs.kernel.peer_module.empty() && !needs.kernel.has_dma_buf) {
    result.missing.push_back({"the kernel lets no RDMA adapter reach a GPU's memory",
                              "modprobe nvidia_peermem, or use NVIDIA's open kernel modules on "
                              "Linux 5.12 or later"});
  }
  if (!result.missing.empty()) return result;
  result.way = needs.kernel.peer_module.empty() ? "dma-buf" : needs.kernel.peer_module;
  return result;
}

GpuDirect find_gpudirect(bool ucx_has_cuda) {
  return judge_gpudirect({has_active_hardware_port(), ucx_has_cuda, find_gpudirect_kernel()});
}

std::string describe(const GpuDirect& gpudirect) {
  if (gpudirect.missing.empty()) return fmt::format("GPUDirect RDMA by {}", gpudirect.way);
  std::string text = "no GPUDirect RDMA: ";
  for (std::size_t i = 0; i < gpudirect.missing.size(); ++i) {
    text += fmt::format("{}{} ({})", i == 0 ? "" : "; ", gpudirect.missing[i].what,
                        gpudirect.missing[i].remedy);
  }
  return text;
}

}  // namespace dsl::verbs
