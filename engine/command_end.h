// How a command of dsengine ends: its error line and its exit code (docs/errors.md).
#pragma once

#include "transport/base/error.h"

namespace dsl {

/// The exit code for `status`; an error is printed to stderr, as JSON if that was asked for.
int end_with(const Status& status, bool is_json = false);

}  // namespace dsl
