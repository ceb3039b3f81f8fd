// What engine/kernels/cuda/mbarrier.cuh asks of the hardware, for the emulated device.
#pragma once

namespace dsl::test {

/// `state`: 8 bytes of dynamic shared memory, which keep all there is to know.
void init_mbarrier(void* state, int arrivals);
void arrive_at_mbarrier(void* state);
/// Whether a phase of this parity has ended, the last one or the one that goes on. Whole warps ask
/// alike, and others take their turns until it has: the answer is yes.
bool wait_at_mbarrier(const void* state, unsigned parity);
/// The same at once: perhaps not.
bool mbarrier_has_ended(const void* state, unsigned parity);

}  // namespace dsl::test
