// Where the programs of this installation lie.
#pragma once

#include <string>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Absolute path of this executable.
Result<std::string> own_path();
/// The engine: $DSLAUNCH_ENGINE, or dsengine beside this executable. kNotFound names both places.
Result<std::string> find_engine();
/// The same for the gateway ($DSLAUNCH_GATEWAY, dsgateway) and the text service ($DSLAUNCH_TEXT,
/// dstext).
Result<std::string> find_gateway();
Result<std::string> find_text_service();
/// Absolute path of a program in $PATH; kNotFound otherwise.
Result<std::string> find_in_path(const std::string& program);

}  // namespace dsl::launcher
