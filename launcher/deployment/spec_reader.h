// SPEC.yaml read strictly: unknown keys, wrong types and ranges are errors with file:line:column.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Larger files are not specifications.
inline constexpr std::size_t kMaxSpecBytes = 1 << 20;

/// Reads a specification from text. `origin` is what errors call the file. Relative model paths are
/// left as they are. All errors are kConfig. The result is not validate()d: flags may still add
/// what is missing.
Result<DeploymentSpec> parse_spec(std::string_view yaml, std::string_view origin);

/// "demo.yaml:3:7": where the file has the value of a key ("gateway.tls_key"), or what it should
/// stand in where it has none.
std::string place_in_spec(const std::filesystem::path& path, std::string_view key);

/// Reads the file; relative paths in it are taken from the file's folder.
Result<DeploymentSpec> read_spec(const std::filesystem::path& path);

}  // namespace dsl::launcher
