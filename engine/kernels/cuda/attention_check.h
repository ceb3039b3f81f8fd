// Whether a device's warpgroups attend as its other kernels do.
#pragma once

#include <optional>
#include <string>

#include "engine/kernels/cuda/launcher.h"

namespace dsl::cuda {

/// Whether there are kernels of warpgroups for the attention of such a model.
bool has_warpgroup_attention(const MlaShape& shape);

/// Lets some heads attend by warpgroups and by mma.sync, of generated tokens and of a prompt, and
/// returns where the bits of a result first differ: a row must have the same bits in every batch,
/// chunk and shard, so that the two may only take turns where there is no such result. Asks for
/// launcher.has_warpgroups().
Result<std::optional<std::string>> find_attention_difference(Launcher& launcher);

}  // namespace dsl::cuda
