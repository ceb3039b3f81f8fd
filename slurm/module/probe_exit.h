// The exit code by which dsl_slurm_probe says that it has printed an error itself.
#pragma once

namespace dsl::slurm {

inline constexpr int kProbeRefused = 42;  // libslurm itself exits with 1

}  // namespace dsl::slurm
