// Barriers in shared memory at which some threads arrive and others wait. Source: PTX ISA,
// "mbarrier".
#pragma once

#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {

/// mbarrier.init, mbarrier.arrive: what lanes do.
void init_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes);
void arrive_at_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes);

/// mbarrier.test_wait.parity of a whole warp, whose lanes must all ask alike.
void ask_mbarriers(Warp& warp, const Instruction& instruction, LaneMask lanes);

/// Of a warp that got to mbarrier.try_wait.parity, whose lanes must all ask alike.
AwaitedPhase awaited_phase(Warp& warp);
/// The instruction waits as long as it takes, and says yes: programs only ask again otherwise.
bool pass_if_ended(Warp& warp, const AwaitedPhase& awaited);

}  // namespace dsl::test::ptx
