// Slurm's error numbers as errors of dslaunch: one line that says what, where, why and what to do.
#pragma once

#include <string_view>

#include "slurm/job_spec.h"
#include "transport/base/error.h"

namespace dsl::slurm {

/// The error that the last failed libslurm call of this thread left in errno. Call it first thing
/// after the call.
int last_error_number();

/// An Error for Slurm's `number`; `operation` says what was tried, e.g. "submit job \"demo\"".
tl::unexpected<Error> slurm_failure(int number, std::string_view operation);
/// The same for a submission, where the refused field can be named.
tl::unexpected<Error> submit_failure(int number, std::string_view operation, const JobSpec& spec);

}  // namespace dsl::slurm
