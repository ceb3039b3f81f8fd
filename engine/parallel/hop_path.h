// Which memory the activations lie in that hop from stage to stage: the device's, or the host's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/runtime/memory.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"
#include "transport/collectives/collectives.h"
#include "transport/wire/wire.h"

namespace dsl::parallel {

/// kNone: there is one stage. kHost: this rank computes in the host's memory. kPinned: copies
/// between the device and page-locked memory, which the wire carries. kDevice: the wire carries the
/// device's memory.
enum class HopMemory : std::uint8_t { kNone, kHost, kPinned, kDevice };

/// "none", "host", "pinned" or "device".
std::string_view name_of(HopMemory memory);

/// What the wire is told of it.
constexpr wire::MemoryType wire_memory_of(HopMemory memory) {
  return memory == HopMemory::kDevice ? wire::MemoryType::kCuda : wire::MemoryType::kHost;
}

struct HopPath {
  HopMemory memory = HopMemory::kNone;
  std::string reason;  // why kPinned
};

/// All ranks of the `world` call it. Ranks on devices hop from and to their memory where every
/// rank is on one, its `wire` carries that memory and no environment says DSL_HOPS=pinned.
Result<HopPath> agree_on_hop_path(const Memory& memory, const wire::Wire& wire,
                                  collectives::Collectives& world, Deadline deadline);

}  // namespace dsl::parallel
