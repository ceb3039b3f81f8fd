// What devices of a tensor-parallel group exchange without the hosts' memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl {

/// A shard's place in its group. Every shard calls the same functions in the same order, and where
/// ops record steps (Ops::run_step) records and repeats the same ones. Both work in order with the
/// device's ops: they return before it is done. Ops that have recorded calls must be destroyed
/// before this. Thread-compatible.
class DeviceCollectives {
 public:
  virtual ~DeviceCollectives() = default;

  /// "nccl", ...
  virtual std::string name() const = 0;

  /// Bounds the wait for the other shards in later calls, and in steps that are repeated with
  /// theirs: one that stays silent for longer ends the call, or the next wait for the device
  /// (Ops::finish, Memory::read), with kPeerHung.
  virtual void set_patience(std::chrono::steady_clock::duration patience) = 0;

  /// `values`, in the device's memory, become the balanced binary tree over the shards' values,
  /// with the bits of collectives::tree_sum.
  virtual Status all_reduce_tree(std::span<float> values) = 0;

  /// On shard 0 `others` become as many values of shard 1 as `mine` has, then of shard 2, and so
  /// on; elsewhere it is empty. All lie in the devices' memory.
  virtual Status gather(std::span<const float> mine, std::span<float> others) = 0;
};

/// What connects a device with others of its node. Thread-compatible.
class DeviceNetwork {
 public:
  using GroupId = std::vector<std::byte>;
  struct Place {
    int shard = 0;
    int shards = 1;               // a power of two, at most kNumLeaves
    std::int64_t max_values = 0;  // of one sum
  };

  virtual ~DeviceNetwork() = default;

  /// Different for all devices of a node, equal for all processes that use one.
  virtual std::string device_id() const = 0;
  /// Bytes that a GroupId has.
  virtual std::size_t group_id_size() const = 0;
  /// Names a new group: made by one shard, and told to the others.
  virtual Result<GroupId> new_group() = 0;
  /// Returns when all shards have called it. They must be on distinct devices of one node.
  virtual Result<std::unique_ptr<DeviceCollectives>> join(const GroupId& group, const Place& place,
                                                          Deadline deadline) = 0;
};

}  // namespace dsl
