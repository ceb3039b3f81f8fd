// The batch script of a deployment: what `dslaunch up` submits, what `dslaunch render` shows, what
// sbatch accepts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "slurm/job_spec.h"
#include "transport/base/error.h"

namespace dsl::slurm {

/// The script of `spec` (whose own script field is ignored) that runs `command` in the batch step.
/// The #SBATCH lines say what the spec says, so that `sbatch` of the printed text submits the same
/// job; every word is quoted. The environment is not part of it: secrets travel with the submission
/// only.
Result<std::string> render_batch_script(const JobSpec& spec,
                                        const std::vector<std::string>& command);

/// One word for a POSIX shell: quoted when it has to be.
std::string shell_quote(std::string_view word);

}  // namespace dsl::slurm
