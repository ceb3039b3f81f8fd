// Slurm's notation for generic resources, e.g. "gpu:a100:2(S:0-1),shard:8".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dsl::slurm {

/// The number of GPUs of all types in a list of generic resources, as in a node's `gres` or
/// `gres_used`.
std::uint32_t count_gpus(std::string_view gres);

}  // namespace dsl::slurm
