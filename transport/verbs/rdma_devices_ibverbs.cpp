#include <arpa/inet.h>
#include <infiniband/verbs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "transport/verbs/rdma_devices.h"

namespace dsl::verbs {
namespace {

struct ContextCloser {
  void operator()(ibv_context* context) const { ::ibv_close_device(context); }
};
struct ListFreer {
  void operator()(ibv_device** list) const { ::ibv_free_device_list(list); }
};

/// ibv_port_attr reports speed and width as codes of the InfiniBand specification.
double lane_gbit_per_s(int code) {
  switch (code) {
    case 1:
      return 2.5;
    case 2:
      return 5;
    case 4:
    case 8:
      return 10;
    case 16:
      return 14.0625;
    case 32:
      return 25;
    case 64:
      return 50;
    case 128:
      return 100;
    default:
      return 0;
  }
}

int lanes(int code) {
  switch (code) {
    case 1:
      return 1;
    case 2:
      return 4;
    case 4:
      return 8;
    case 8:
      return 12;
    case 16:
      return 2;
    default:
      return 0;
  }
}

std::string_view link_layer_name(int link_layer) {
  switch (link_layer) {
    case IBV_LINK_LAYER_ETHERNET:
      return "Ethernet";
    case IBV_LINK_LAYER_INFINIBAND:
      return "InfiniBand";
    default:
      return "unspecified";
  }
}

std::string_view gid_type_name(unsigned type) {
  switch (type) {
    case IBV_GID_TYPE_ROCE_V2:
      return "RoCEv2";
    case IBV_GID_TYPE_ROCE_V1:
      return "RoCEv1";
    default:
      return "IB";
  }
}

std::vector<std::string> list_gids(ibv_context* context, int port, int count) {
  std::vector<std::string> gids;
  for (int index = 0; index < count; ++index) {
    ibv_gid_entry entry{};
    if (::ibv_query_gid_ex(context, static_cast<std::uint32_t>(port),
                           static_cast<std::uint32_t>(index), &entry, 0) != 0) {
      continue;  // an empty slot
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, entry.gid.raw, text.data(), text.size());
    gids.push_back(fmt::format("{} {}", text.data(), gid_type_name(entry.gid_type)));
  }
  return gids;
}

Result<RdmaDevice> query(ibv_device* device) {
  RdmaDevice result;
  result.name = ::ibv_get_device_name(device);
  result.software = std::filesystem::exists("/sys/class/infiniband/" + result.name + "/parent");
  const std::unique_ptr<ibv_context, ContextCloser> context(::ibv_open_device(device));
  ibv_device_attr attributes{};
  if (context == nullptr || ::ibv_query_device(context.get(), &attributes) != 0) {
    return fail(ErrorCode::kIo, "check the permissions of /dev/infiniband",
                "cannot open RDMA device {}: {}", result.name, std::strerror(errno));
  }
  for (int number = 1; number <= attributes.phys_port_cnt; ++number) {
    ibv_port_attr port{};
    if (::ibv_query_port(context.get(), static_cast<std::uint8_t>(number), &port) != 0) {
      return fail(ErrorCode::kIo, "look at the kernel's log",
                  "cannot query port {} of RDMA device {}: {}", number, result.name,
                  std::strerror(errno));
    }
    result.ports.push_back(
        {.number = number,
         .state = ::ibv_port_state_str(port.state),
         .active = port.state == IBV_PORT_ACTIVE,
         .link_layer = std::string(link_layer_name(port.link_layer)),
         .gbit_per_s = lane_gbit_per_s(port.active_speed) * lanes(port.active_width),
         .gids = list_gids(context.get(), number, port.gid_tbl_len)});
  }
  return result;
}

}  // namespace

Result<std::vector<RdmaDevice>> list_rdma_devices() {
  int count = 0;
  errno = 0;
  const std::unique_ptr<ibv_device*, ListFreer> list(::ibv_get_device_list(&count));
  std::vector<RdmaDevice> devices;
  if (list == nullptr) {
    if (errno == ENOSYS) return devices;  // a kernel without RDMA
    return fail(ErrorCode::kIo, "check the RDMA drivers", "cannot list RDMA devices: {}",
                std::strerror(errno));
  }
  for (int i = 0; i < count; ++i) {
    DSL_ASSIGN(RdmaDevice device, query(list.get()[i]));
    devices.push_back(std::move(device));
  }
  return devices;
}

bool has_active_port(const std::vector<RdmaDevice>& devices) {
  return std::any_of(devices.begin(), devices.end(), [](const RdmaDevice& device) {
    return std::any_of(device.ports.begin(), device.ports.end(),
                       [](const RdmaPort& port) { return port.active; });
  });
}

}  // namespace dsl::verbs
