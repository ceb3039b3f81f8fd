// Files that only their owner reads, replaced atomically, and the folders where dslaunch keeps
// them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "transport/base/error.h"
#include "transport/base/unique_fd.h"

namespace dsl::launcher {

/// ${XDG_STATE_HOME:-~/.local/state}/dslaunch: registry, logs and secrets. It outlives a logout, as
/// what runs does; on a cluster it usually lies in a shared home.
Result<std::filesystem::path> state_folder();

/// Makes the folder and those above it that are missing, 0700. One that exists must belong to this
/// user and be closed to others.
Status make_private_folder(const std::filesystem::path& folder);

/// Writes a 0600 file beside `path`, syncs it and renames it over `path`: a reader sees the old or
/// the new content.
Status write_private_file(const std::filesystem::path& path, std::string_view content);

/// Reads at most `max_bytes`; a file that others may read or write, or that is larger, is refused.
/// kNotFound when it does not exist.
Result<std::string> read_private_file(const std::filesystem::path& path, std::size_t max_bytes);

/// Holds an exclusive lock on a 0600 file until destroyed; waits for it.
Result<UniqueFd> lock_file(const std::filesystem::path& path);

}  // namespace dsl::launcher
