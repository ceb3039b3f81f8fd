// Reads the small text files of a model folder.
#pragma once

#include <filesystem>
#include <string>

#include "transport/base/error.h"

namespace dsl::text {

/// A whole file of at most 256 MiB. Errors: kNotFound, kIo, kPermission.
Result<std::string> read_text_file(const std::filesystem::path& path);

}  // namespace dsl::text
