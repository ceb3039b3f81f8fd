// How much of its device a rank may take, how large its cache becomes in that, and what to say when
// the model does not fit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/model/memory_plan.h"

namespace dsl::engine {

/// What is kept of a device for what is not planned: kernels that the driver loads when they are
/// first used, recorded steps (some megabytes each), and pieces between allocations.
inline constexpr std::int64_t kDeviceReserveBytes = std::int64_t{1} << 30;
/// What a communicator over NCCL takes of each device: about 9.5 MB for a channel to a peer, at
/// most 32 of them to each other shard, and 256 MiB for gathers and itself. Reckoned from NCCL's
/// buffer sizes, not measured, and for devices on paper alone: ranks connect before they look at
/// what is free.
inline constexpr std::int64_t kPeerBytes = std::int64_t{304} << 20;
inline constexpr std::int64_t kCommunicatorBytes = std::int64_t{256} << 20;
/// What CUDA takes for a process before anything is allocated; it is gone from what a rank finds
/// free, but not from the size of a device on paper.
inline constexpr std::int64_t kContextBytes = std::int64_t{512} << 20;

struct DeviceBudget {
  std::string device;  // its name
  std::int64_t free = 0;
  std::int64_t total = 0;
  int num_ranks = 1;       // that take equal parts of what is free
  std::int64_t group = 0;  // bytes that a communicator will take, where that has not happened

  /// The group's, and for the driver: small devices, as tests have them, keep less for that.
  std::int64_t reserve() const;
  /// For this rank's plan.
  std::int64_t available() const;
};

/// Values that shards sum at once.
std::int64_t largest_sum(const EngineOptions& options, const checkpoint::ModelConfig& config);

/// What `tp` shards take of each of their devices to sum over NCCL, in steps of the options' size.
std::int64_t group_bytes(int tp, const EngineOptions& options,
                         const checkpoint::ModelConfig& config);

struct Split {
  int tp = 1;
  int pp = 1;
};

model::MemoryPlanOptions plan_options(const EngineOptions& options,
                                      const checkpoint::ModelConfig& config, bool on_device = true);

/// More could not be in use at once: half of a step's rows belong to sequences that generate.
std::int64_t most_useful_tokens(const EngineOptions& options,
                                const checkpoint::ModelConfig& config);

/// Blocks of a cache for `kv_tokens`.
std::int64_t blocks_of(std::int64_t kv_tokens);

/// The split with the fewest ranks whose plans all fit into `available` bytes with a cache of
/// `kv_tokens`; none: nothing fits.
std::optional<Split> fewest_ranks(const checkpoint::Checkpoint& checkpoint,
                                  const checkpoint::ModelConfig& config,
                                  const model::MemoryPlanOptions& options, std::int64_t kv_tokens,
                                  const std::function<std::int64_t(int tp)>& available,
                                  const model::MemoryPlanner::OpsBytes& ops_bytes);

/// Tokens that the rank can cache: as many as `wanted`, or for 0 as many as fit, at most
/// `max_tokens`. kOutOfMemory has the arithmetic; its remedy names what `other_split` finds for as
/// many tokens.
Result<std::int64_t> fit_cache(
    const model::MemoryPlanner& planner, const DeviceBudget& budget, std::int64_t wanted,
    std::int64_t max_tokens,
    const std::function<std::optional<Split>(std::int64_t kv_tokens)>& other_split);

/// "12.34 GiB"; below one GiB "12.34 MiB".
std::string binary_size(std::int64_t bytes);

}  // namespace dsl::engine
