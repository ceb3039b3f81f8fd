#include "transport/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <optional>

namespace dsl {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

/// Of DSL_LOG; none for a word that is no level, which spdlog takes for silence.
std::optional<spdlog::level::level_enum> level_named(const char* word) {
  if (word == nullptr || word[0] == '\0') return spdlog::level::info;
  const std::string_view name = word;
  if (name == "debug") return level_of(LogLevel::kDebug);
  if (name == "info") return level_of(LogLevel::kInfo);
  if (name == "warning") return level_of(LogLevel::kWarning);
  if (name == "error") return level_of(LogLevel::kError);
  return std::nullopt;
}

/// Lives as long as the process: detached threads may log while main() returns.
spdlog::logger& logger() {
  static spdlog::logger* const instance = [] {
    auto* const created =
        new spdlog::logger("dslaunch", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ [dslaunch] %v");
    const char* wanted = std::getenv("DSL_LOG");
    const std::optional<spdlog::level::level_enum> level = level_named(wanted);
    created->set_level(level.value_or(spdlog::level::info));
    if (!level) {
      created->warn("DSL_LOG={} is none of debug, info, warning, error: info it is", wanted);
    }
    return created;
  }();
  return *instance;
}

}  // namespace

void set_log_identity(std::string identity) {
  logger().set_pattern(fmt::format("%Y-%m-%dT%H:%M:%S.%e %l [{}] %v", identity));
}

void set_log_level(LogLevel level) { logger().set_level(level_of(level)); }

void log_line(LogLevel level, std::string_view text) { logger().log(level_of(level), "{}", text); }

}  // namespace dsl
