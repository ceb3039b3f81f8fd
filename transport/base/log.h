// One log line per handled event on stderr, synchronous so that a crash loses nothing; Slurm
// captures it.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace dsl {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Sets what every line of this process says of itself, e.g. "rank 3" or "supervisor".
void set_log_identity(std::string identity);
/// Lines below this level are dropped; the default is kInfo, or DSL_LOG=debug|info|warning|error.
void set_log_level(LogLevel level);
void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dsl
