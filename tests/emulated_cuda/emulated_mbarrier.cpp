#include "emulated_mbarrier.h"

#include <cstdint>
#include <cstring>

#include "emulated_threads.h"
#include "emulated_wgmma.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

/// What shared memory holds by chance is no barrier.
constexpr std::uint16_t kMbarrierMark = 0xba44;

struct MbarrierState {
  std::uint16_t mark = 0;
  std::uint16_t expected = 0;  // arrivals in a phase
  std::uint16_t pending = 0;   // that the phase lacks
  std::uint16_t phase = 0;     // that goes on

  bool is_valid() const { return mark == kMbarrierMark && pending >= 1 && pending <= expected; }
};
static_assert(sizeof(MbarrierState) == 8);

MbarrierState loaded_mbarrier(const void* place) {
  DSL_CHECK(shared_address(place) % sizeof(MbarrierState) == 0, "a barrier at {}", place);
  MbarrierState state;
  std::memcpy(&state, place, sizeof(state));
  return state;
}

MbarrierState valid_mbarrier(const void* place) {
  const MbarrierState state = loaded_mbarrier(place);
  DSL_CHECK(state.is_valid(), "no barrier at {}: it was not initialised, or is overwritten", place);
  return state;
}

}  // namespace

void init_mbarrier(void* place, int arrivals) {
  DSL_CHECK(!loaded_mbarrier(place).is_valid(), "the barrier at {} is initialised twice", place);
  const auto expected = static_cast<std::uint16_t>(arrivals);
  DSL_CHECK(arrivals >= 1 && arrivals == expected, "a barrier for {} arrivals", arrivals);
  const MbarrierState state{.mark = kMbarrierMark, .expected = expected, .pending = expected};
  std::memcpy(place, &state, sizeof(state));
}

void arrive_at_mbarrier(void* place) {
  MbarrierState state = valid_mbarrier(place);
  if (--state.pending == 0) {
    state.pending = state.expected;
    ++state.phase;
  }
  std::memcpy(place, &state, sizeof(state));
}

bool wait_at_mbarrier(const void* place, unsigned parity) {
  const std::uint16_t now = valid_mbarrier(place).phase;
  const bool goes_on = now % 2 == parity;
  wait_for_phase({place, static_cast<std::uint16_t>(goes_on ? now : now - 1)});
  return true;
}

bool mbarrier_has_ended(const void* place, unsigned parity) {
  return valid_mbarrier(place).phase % 2 != parity;
}

bool has_ended(const AwaitedPhase& awaited) {
  const auto ended =
      static_cast<std::uint16_t>(valid_mbarrier(awaited.barrier).phase - awaited.number);
  // The hardware knows phases by their parity: who waits may miss both ends.
  DSL_CHECK(ended <= 1,
            "a warp waits for phase {} of the barrier at {}, and the next has ended too",
            awaited.number, awaited.barrier);
  return ended == 1;
}

}  // namespace dsl::test
