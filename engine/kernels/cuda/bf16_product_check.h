// Whether a device's warpgroups multiply BF16 as its other kernels do.
#pragma once

#include <optional>
#include <string>

#include "engine/kernels/cuda/launcher.h"

namespace dsl::cuda {

/// Multiplies small matrices by warpgroups and by other kernels, and returns where the bits of an
/// output first differ: a row must have the same bits in every batch, so that the two may only take
/// turns where there is no such output. Leaves `launcher` without warpgroups for BF16. Asks for
/// launcher.has_warpgroups(). kInternal names the first output that is wrong although it is exact
/// in any order, and the way around.
Result<std::optional<std::string>> find_bf16_difference(Launcher& launcher);

}  // namespace dsl::cuda
