// Files that only this user can have written and can read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::serving {

/// The content of a regular file of this user without access for others. The checks are of the
/// open file, so that it cannot be exchanged in between. kIo, kPermission; kConfig when larger.
Result<std::string> read_own_file(const std::filesystem::path& path, std::int64_t max_bytes,
                                  std::string_view remedy);

/// Changes whenever the file is written or replaced; empty when there is none.
std::string file_stamp(const std::filesystem::path& path);

}  // namespace dsl::serving
