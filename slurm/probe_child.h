// Runs the probe program that tries a Slurm configuration in a process of its own.
#pragma once

#include <filesystem>
#include <optional>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::slurm {

/// Tries `config` (none: Slurm's own search) with `module` in a child process, which is gone when
/// this returns. OK: a controller answered. Errors are those of load_client().
Status probe_cluster(const std::filesystem::path& module,
                     const std::optional<std::filesystem::path>& config, Deadline deadline);

}  // namespace dsl::slurm
