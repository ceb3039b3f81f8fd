// Products of warpgroups that are under way.
#pragma once

#include <span>

#include "tests/ptx_device/warp.h"

namespace dsl::test::ptx {

/// wgmma.mma_async, wgmma.commit_group: what a warp does.
void begin_product(Warp& warp, const Instruction& instruction, LaneMask lanes);
void commit_products(Warp& warp, const Instruction& instruction, LaneMask lanes);

/// Whether the register holds sums or the left operand of a wgmma.mma_async.
bool product_uses(const Instruction& product, std::uint32_t place);

/// Throws Fault where something between a product and the wgmma.fence before it uses a register of
/// its sums or of its left operand: what the product then takes is undefined. Looks at the text and
/// not at what is executed, as compilers move instructions but no fences.
void check_fences(const Kernel& kernel);

/// Makes what the four warps began, in order, now that they wait for it. Throws Fault where they
/// did not begin the same.
void multiply_pending(std::span<Warp* const> warpgroup);

}  // namespace dsl::test::ptx
