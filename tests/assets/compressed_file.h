// Reads compressed test data; a missing or broken file ends the test program with a message.
#pragma once

#include <filesystem>
#include <string>

namespace dsl::test {

/// The contents of a .gz or .xz file.
std::string read_compressed(const std::filesystem::path& path);

}  // namespace dsl::test
