#include "transport/ucx/host_identity.h"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace dsl::ucx {

std::string host_identity() {
  std::string identity;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> identity;
  for (const char* space : {"net", "ipc", "pid"}) {
    std::error_code ignored;
    const auto link = std::filesystem::path("/proc/self/ns") / space;
    identity += " " + std::filesystem::read_symlink(link, ignored).string();
  }
  return identity;
}

}  // namespace dsl::ucx
