#include "engine/parallel/hop_path.h"

#include <cstdlib>
#include <span>
#include <vector>

#include "engine/parallel/tensor_parallel.h"

namespace dsl::parallel {
namespace {

/// What a rank can do with its end of a hop.
enum class HopEnd : std::uint8_t { kDirect, kNoDevice, kNotCarried, kUnwanted };

HopEnd describe_own_end(const Memory& memory, const wire::Wire& wire) {
  if (memory.is_host()) return HopEnd::kNoDevice;
  const char* wish = std::getenv("DSL_HOPS");
  if (wish != nullptr && std::string_view(wish) == "pinned") return HopEnd::kUnwanted;
  return wire.carries(wire::MemoryType::kCuda) ? HopEnd::kDirect : HopEnd::kNotCarried;
}

/// Empty where all hop directly.
std::string obstacle_of(std::span<const HopEnd> ends) {
  for (std::size_t rank = 0; rank < ends.size(); ++rank) {
    switch (ends[rank]) {
      case HopEnd::kDirect:
        break;
      case HopEnd::kNoDevice:
        return fmt::format("rank {} computes on the CPU", rank);
      case HopEnd::kNotCarried:
        return fmt::format("rank {}'s transport (UCX) carries no CUDA memory", rank);
      case HopEnd::kUnwanted:
        return fmt::format("DSL_HOPS=pinned is set for rank {}", rank);
    }
  }
  return {};
}

}  // namespace

std::string_view name_of(HopMemory memory) {
  switch (memory) {
    case HopMemory::kNone:
      break;
    case HopMemory::kHost:
      return "host";
    case HopMemory::kPinned:
      return "pinned";
    case HopMemory::kDevice:
      return "device";
  }
  return "none";
}

Result<HopPath> agree_on_hop_path(const Memory& memory, const wire::Wire& wire,
                                  collectives::Collectives& world, Deadline deadline) {
  const HopEnd own = describe_own_end(memory, wire);
  std::vector<HopEnd> ends(static_cast<std::size_t>(world.size()));
  DSL_TRY(blame_peer(world.all_gather(std::as_bytes(std::span(&own, 1)),
                                      std::as_writable_bytes(std::span(ends)), deadline)));
  if (own == HopEnd::kNoDevice) return HopPath{HopMemory::kHost, {}};
  std::string obstacle = obstacle_of(ends);
  if (obstacle.empty()) return HopPath{HopMemory::kDevice, {}};
  return HopPath{HopMemory::kPinned, std::move(obstacle)};
}

}  // namespace dsl::parallel
