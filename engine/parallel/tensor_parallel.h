// A rank's place in its tensor-parallel group and the group's exact sums.
#pragma once

#include <cstdint>

#include "engine/kernels/device_network.h"
#include "engine/kernels/ops.h"
#include "engine/runtime/memory.h"
#include "engine/tensor/views.h"
#include "transport/base/bytes.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"

namespace dsl::parallel {

/// What the shards of a group reach each other over: the memory of their hosts or of their devices.
enum class ShardLink : std::uint8_t { kHosts, kDevices };

/// The shard that this rank computes of every split layer. Non-owning: collectives must outlive it.
/// Thread-compatible; every member of the group calls the same operations in the same order.
class TensorParallel {
 public:
  /// A group of one, which needs no communication.
  TensorParallel() = default;
  /// `group` may be null for one shard; otherwise its size is the number of shards. `patience`
  /// bounds the wait for the other members in each operation. `memory` holds what is reduced: by
  /// `devices` where there are such; else what the host does not reach is copied to it and back.
  TensorParallel(collectives::Collectives* group, Deadline::Clock::duration patience,
                 Memory& memory = host_memory(), DeviceCollectives* devices = nullptr);

  /// A place in a group that communicates elsewhere: for what a shard holds, not for its sums.
  static TensorParallel place(int shard, int shards, ShardLink link);

  int shard() const { return shard_; }
  int shards() const { return shards_; }
  /// Whether sums go through the host, so that a step with them cannot be recorded on a device.
  bool needs_host() const { return shards_ > 1 && link_ == ShardLink::kHosts; }

  /// Bounds later waits for the other members.
  void set_patience(Deadline::Clock::duration patience);

  /// First element of this shard when `size` elements are split evenly; shards() divides size.
  std::int64_t first(std::int64_t size) const { return size / shards_ * shard_; }
  std::int64_t count(std::int64_t size) const { return size / shards_; }
  LeafSplit leaf_split(std::int64_t size) const { return {size, shard_, shards_}; }

  /// Joins the members' subtree sums; `values` is contiguous [rows, cols]. A silent member is
  /// kPeerHung, here or in the next wait for the device.
  Status all_reduce(MatrixView<float> values) const;
  /// Concatenates the members' equal-sized parts, which lie on the host, in shard order.
  Status all_gather(ConstBytes mine, MutableBytes all) const;
  /// DeviceCollectives::gather() of several members that need no host.
  Status gather(std::span<const float> mine, std::span<float> others) const;

 private:
  collectives::Collectives* group_ = nullptr;
  Memory* memory_ = nullptr;              // set where group_ is
  DeviceCollectives* devices_ = nullptr;  // set where the link is theirs and group_ is
  Deadline::Clock::duration patience_{};
  int shard_ = 0;
  int shards_ = 1;
  ShardLink link_ = ShardLink::kHosts;
};

/// An expired wait for a peer is that peer's failure: kDeadlineExceeded becomes kPeerHung, others
/// stay as they are.
Status blame_peer(Status status);

}  // namespace dsl::parallel
