// What a rank says of itself, and how it says it to rank 0.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device_use.h"
#include "engine/rank_pulse.h"
#include "engine/serving/engine_port/node_sampler.h"
#include "engine/serving/engine_port/node_usage.h"
#include "transport/base/error.h"
#include "transport/wire/measured_wire.h"

namespace dsl::serving {

/// What the rank exchanges with others by, as EngineInfo has it.
struct RankPaths {
  std::string hops;         // with other stages
  std::string tensor_sums;  // with the shards of its stage
};

struct RankState {
  std::string host;
  std::int64_t num_steps = 0;  // that have ended
  bool is_in_step = false;
  double silence_s = 0;  // in a step: since this rank itself moved, waits left out
  std::optional<wire::CurrentWait> wait;
  double cpu_s = 0;  // of the process, in user and kernel mode
  std::int64_t resident_bytes = 0;
  std::optional<DeviceUse::Reading> device;  // none on the CPU
  RankPaths paths;
  std::vector<wire::LinkReport> links;
  std::vector<wire::HopTraffic> traffic;
  std::optional<NodeUsage> node;  // none: nothing new
};

/// JSON text with a version. Where the counters of all fabric ports make it too long to be told,
/// they are left out.
std::string encode(RankState state);
/// kProtocol for another version and for what is not of that form.
Result<RankState> decode_rank_state(std::string_view text);

/// Reads the state of this process's rank; owns a thread that looks at its node. Non-owning of the
/// wire, which must outlive it and is null for a world of one. read() is thread-safe.
class OwnRankState {
 public:
  /// `device` is null on the CPU. Asks the wire for its links: before its thread starts.
  OwnRankState(std::shared_ptr<const RankPulse> pulse, std::shared_ptr<const DeviceUse> device,
               RankPaths paths, const wire::MeasuredWire* wire);

  const std::vector<wire::LinkReport>& links() const { return links_; }
  RankState read() const;
  /// The same as text for rank 0; for one thread. A node's figures are in it once.
  std::string tell();

 private:
  const std::shared_ptr<const RankPulse> pulse_;
  const std::shared_ptr<const DeviceUse> device_;
  const RankPaths paths_;
  const wire::MeasuredWire* const wire_;
  const std::string host_;
  const std::vector<wire::LinkReport> links_;
  double node_told_unix_s_ = 0;
  NodeSampler node_;
};

}  // namespace dsl::serving
