#include "transport/verbs/describe_transports.h"

#include <fmt/ranges.h>

#include "transport/verbs/rdma_devices.h"
#include "transport/verbs/ucx_facts.h"

namespace dsl::verbs {
namespace {

std::string describe_ucx() {
  const auto facts = query_ucx();
  if (!facts) return fmt::format("UCX: {}\n", facts.error().message);
  return fmt::format("UCX: {}\n  transports: {}\n  memory types: {}\n", facts->version,
                     fmt::join(facts->transports, " "), fmt::join(facts->memory_types, " "));
}

std::string describe_rdma() {
  const auto devices = list_rdma_devices();
  if (!devices) return fmt::format("RDMA: {}\n", devices.error().message);
  if (devices->empty()) return "RDMA: no devices\n";
  std::string text = "RDMA:\n";
  for (const RdmaDevice& device : *devices) {
    for (const RdmaPort& port : device.ports) {
      text += fmt::format("  {}:{} {} {} {} Gbit/s{}\n", device.name, port.number, port.state,
                          port.link_layer, port.gbit_per_s, device.software ? " (Soft-RoCE)" : "");
      for (const std::string& gid : port.gids) text += fmt::format("    gid {}\n", gid);
    }
  }
  return text;
}

}  // namespace

std::string describe_transports() { return describe_ucx() + describe_rdma(); }

}  // namespace dsl::verbs
