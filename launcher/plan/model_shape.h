// Whether a model can be split as asked, seen before anything is started or queued.
#pragma once

#include <filesystem>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Looks at config.json's layers and heads only. kParallelism says the arithmetic; kNotFound when
/// the folder is no model. What is missing or odd in config.json is left to the engine to explain.
Status check_shape(const std::filesystem::path& model, int tp, int pp);

}  // namespace dsl::launcher
