// Nodes and partitions as Slurm reports them, without Slurm's headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "slurm/time_limit.h"

namespace dsl::slurm {

enum class NodeState { kUnknown, kDown, kIdle, kAllocated, kMixed, kError, kFuture };

/// Slurm's own word, e.g. "IDLE".
std::string_view node_state_name(NodeState state);

struct Node {
  std::string name;
  std::string address;
  NodeState state = NodeState::kUnknown;
  bool drained = false;       // takes no new jobs
  bool responding = true;     // false: slurmd has not answered lately
  bool completing = false;    // a job's epilog is still running
  bool powered_down = false;  // off, or on its way down or up
  std::string reason;         // why it is down or drained
  std::uint32_t cpus = 0;
  std::uint32_t allocated_cpus = 0;
  std::uint64_t memory_mb = 0;
  std::optional<std::uint64_t> free_memory_mb;
  std::optional<double> cpu_load;
  std::uint32_t gpus = 0;
  std::uint32_t used_gpus = 0;
  std::string gres;      // e.g. "gpu:a100:2"
  std::string features;  // comma separated

  /// True when a job could start on it now.
  bool available() const;
};

struct Partition {
  std::string name;
  std::string nodes;  // hostlist
  std::uint32_t total_nodes = 0;
  std::uint32_t total_cpus = 0;
  bool is_default = false;
  bool is_up = false;  // accepts and starts jobs
  TimeLimit max_time;
  std::optional<TimeLimit> default_time;
};

}  // namespace dsl::slurm
