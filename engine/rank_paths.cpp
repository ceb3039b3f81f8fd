#include "engine/rank_paths.h"

#include <utility>
#include <vector>

#include "engine/device_budget.h"
#include "transport/base/log.h"
#include "transport/collectives/wire_collectives.h"

namespace dsl::engine {
namespace {

/// The lane of tensor groups: two groups never share two ranks.
constexpr std::uint8_t kTensorGroupLane = 0;
constexpr std::uint8_t kWorldLane = 1;

}  // namespace

Result<parallel::HopPath> agree_on_hop_path(const Device& device, int num_stages, wire::Wire* wire,
                                            Deadline deadline) {
  if (num_stages == 1) return parallel::HopPath{};
  std::vector<int> all;
  for (int rank = 0; rank < wire->world_size(); ++rank) all.push_back(rank);
  collectives::WireCollectives world(*wire, std::move(all), kWorldLane);
  return parallel::agree_on_hop_path(*device.memory, *wire, world, deadline);
}

void log_hops(const parallel::HopPath& path, std::int64_t buffer_bytes) {
  if (path.memory == parallel::HopMemory::kDevice) {
    log(LogLevel::kInfo, "hops between stages go from and to the device's memory, {} of it",
        binary_size(buffer_bytes));
  } else if (path.memory == parallel::HopMemory::kPinned) {
    log(LogLevel::kInfo, "hops between stages go through {} of page-locked host memory: {}",
        binary_size(buffer_bytes), path.reason);
  }
}

std::unique_ptr<collectives::Collectives> tensor_group_of(const parallel::ParallelPlan& plan,
                                                          int rank, wire::Wire* wire) {
  if (plan.tp() == 1) return nullptr;
  std::vector<int> members;
  for (int shard = 0; shard < plan.tp(); ++shard) {
    members.push_back(plan.rank_of(plan.stage_of(rank), shard));
  }
  return std::make_unique<collectives::WireCollectives>(*wire, std::move(members),
                                                        kTensorGroupLane);
}

Result<parallel::TensorPath> agree_on_tensor_path(const Device& device,
                                                  collectives::Collectives* group,
                                                  Deadline deadline) {
  if (group == nullptr) return parallel::TensorPath{};
  return parallel::agree_on_tensor_path(device.network.get(), *group, deadline);
}

Result<parallel::TensorPath> connect_shards(parallel::TensorPath agreed, const Device& device,
                                            std::int64_t max_values,
                                            collectives::Collectives* group, Deadline deadline) {
  if (group == nullptr) return agreed;
  DSL_ASSIGN(parallel::TensorPath path, parallel::connect(std::move(agreed), device.network.get(),
                                                          max_values, *group, deadline));
  if (device.memory->is_host() || group->rank() != 0) return path;
  if (path.link == parallel::ShardLink::kHosts) {
    log(LogLevel::kWarning, "tensor sums go through the hosts' memory, which is slow: {}",
        path.reason);
  } else {
    log(LogLevel::kInfo, "tensor sums of {} shards go over {}", group->size(), path.name());
  }
  return path;
}

}  // namespace dsl::engine
