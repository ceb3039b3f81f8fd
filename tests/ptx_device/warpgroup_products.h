// Products of warpgroups that are under way.
#pragma once

#include <span>

#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {

/// wgmma.mma_async, wgmma.commit_group: what a warp does.
void begin_product(Warp& warp, const Instruction& instruction, LaneMask lanes);
void commit_products(Warp& warp, const Instruction& instruction, LaneMask lanes);

/// Whether the register holds sums or the left operand of it.
bool product_uses(const PendingProduct& product, std::uint32_t place);

/// Makes what the four warps began, in order, now that they wait for it. Throws Fault where they
/// did not begin the same.
void multiply_pending(std::span<Warp* const> warpgroup);

}  // namespace dsl::test::ptx
