// Another program's standard output, or its place.
#pragma once

#include <string>
#include <vector>

#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Runs argv (absolute path first) and returns what it printed, at most 1 MiB. Its last error line,
/// or kRankFailed, when it ends badly; kDeadlineExceeded, and it is killed, when it takes too long.
Result<std::string> run_program(const std::vector<std::string>& argv, Deadline deadline);

/// Becomes the program; returns only when that fails.
Error become_program(const std::vector<std::string>& argv);

}  // namespace dsl::launcher
