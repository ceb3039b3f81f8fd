#include "engine/parallel/tensor_path.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/runtime/boot_id.h"

namespace dsl::parallel {
namespace {

enum class Network : std::uint8_t { kReady, kAbsent, kUnwanted };

/// What a member tells the others; texts end with zero bytes.
struct Member {
  std::array<char, 48> node{};
  std::array<char, 48> device{};
  Network network = Network::kAbsent;
};

void assign(std::array<char, 48>& text, std::string_view value) {
  std::copy_n(value.begin(), std::min(value.size(), text.size() - 1), text.begin());
}

Member describe_self(const DeviceNetwork* network) {
  Member self;
  assign(self.node, boot_id());
  if (network == nullptr) return self;
  assign(self.device, network->device_id());
  const char* wish = std::getenv("DSL_TENSOR_SUMS");
  const bool is_unwanted = wish != nullptr && std::string_view(wish) == "host";
  self.network = is_unwanted ? Network::kUnwanted : Network::kReady;
  return self;
}

/// Empty where the devices' own way is open.
std::string obstacle(std::span<const Member> members) {
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    if (member.network == Network::kAbsent) {
      return fmt::format("shard {} has no network of devices (NCCL)", i);
    }
    if (member.network == Network::kUnwanted) {
      return fmt::format("DSL_TENSOR_SUMS=host is set for shard {}", i);
    }
    if (member.node != members[0].node) return fmt::format("shards 0 and {} are on two nodes", i);
    for (std::size_t other = 0; other < i; ++other) {
      if (members[other].device != member.device) continue;
      return fmt::format("shards {} and {} share the device {}", other, i, member.device.data());
    }
  }
  return {};
}

/// The name that shard 0 gives the group, on every member.
Result<DeviceNetwork::GroupId> agree_on_group(DeviceNetwork& network,
                                              collectives::Collectives& group, Deadline deadline) {
  DeviceNetwork::GroupId id(network.group_id_size());
  if (group.rank() == 0) {
    DSL_ASSIGN(id, network.new_group());
  }
  DSL_TRY(blame_peer(group.broadcast(id, 0, deadline)));
  return id;
}

}  // namespace

Result<TensorPath> agree_on_tensor_path(const DeviceNetwork* network,
                                        collectives::Collectives& group, Deadline deadline) {
  const Member self = describe_self(network);
  std::vector<Member> members(static_cast<std::size_t>(group.size()));
  DSL_TRY(blame_peer(group.all_gather(std::as_bytes(std::span(&self, 1)),
                                      std::as_writable_bytes(std::span(members)), deadline)));
  TensorPath path;
  path.reason = obstacle(members);
  path.link = path.reason.empty() ? ShardLink::kDevices : ShardLink::kHosts;
  return path;
}

Result<TensorPath> connect(TensorPath path, DeviceNetwork* network, std::int64_t max_values,
                           collectives::Collectives& group, Deadline deadline) {
  if (path.link == ShardLink::kHosts) return path;
  DSL_ASSIGN(const DeviceNetwork::GroupId id, agree_on_group(*network, group, deadline));
  DSL_ASSIGN(path.devices, network->join(id, {group.rank(), group.size(), max_values}, deadline));
  return path;
}

}  // namespace dsl::parallel
