#include "slurm/job_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <ctime>

#include "slurm/client.h"
#include "slurm/hostlist.h"
#include "slurm/quoted.h"

namespace dsl::slurm {
namespace {

using Clock = std::chrono::system_clock;

// A begin beyond these means nothing, and the clock's nanoseconds overflow in the year 2262.
constexpr std::time_t kLatestBegin = 4'102'444'800;      // the year 2100
constexpr std::int64_t kMaxOffsetSeconds = 100'000'000;  // three years

std::optional<std::uint64_t> parse_unsigned(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct SignalName {
  std::string_view name;
  int number;
};

// The signals that sbatch knows by name.
constexpr std::array<SignalName, 11> kSignals{{{"HUP", SIGHUP},
                                               {"INT", SIGINT},
                                               {"QUIT", SIGQUIT},
                                               {"ABRT", SIGABRT},
                                               {"KILL", SIGKILL},
                                               {"ALRM", SIGALRM},
                                               {"TERM", SIGTERM},
                                               {"USR1", SIGUSR1},
                                               {"USR2", SIGUSR2},
                                               {"URG", SIGURG},
                                               {"CONT", SIGCONT}}};

std::optional<int> signal_number(std::string_view text) {
  if (const auto number = parse_unsigned(text)) {
    return *number > 0 && *number < 64 ? std::optional<int>(static_cast<int>(*number))
                                       : std::nullopt;
  }
  if (text.starts_with("SIG")) text.remove_prefix(3);
  for (const SignalName& entry : kSignals) {
    if (entry.name == text) return entry.number;
  }
  return std::nullopt;
}

std::optional<std::chrono::seconds> parse_offset(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto count = parse_unsigned(text.substr(0, digits));
  std::string_view unit = text.substr(digits);
  if (unit.ends_with('s')) unit.remove_suffix(1);
  std::int64_t unit_seconds = 0;
  if (unit.empty() || unit == "second") unit_seconds = 1;
  if (unit == "minute") unit_seconds = 60;
  if (unit == "hour") unit_seconds = 3600;
  if (unit == "day") unit_seconds = 24 * 3600;
  if (unit == "week") unit_seconds = 7 * 24 * 3600;
  if (!count || unit_seconds == 0 ||
      *count > static_cast<std::uint64_t>(kMaxOffsetSeconds / unit_seconds))
    return std::nullopt;
  return std::chrono::seconds(static_cast<std::int64_t>(*count) * unit_seconds);
}

/// Local time by a strptime format that must match the whole text; fields it lacks come from `now`.
std::optional<Clock::time_point> parse_local(std::string_view text, const char* format,
                                             Clock::time_point now) {
  const std::time_t now_seconds = Clock::to_time_t(now);
  std::tm fields{};
  localtime_r(&now_seconds, &fields);
  fields.tm_hour = fields.tm_min = fields.tm_sec = 0;
  fields.tm_isdst = -1;
  const std::string copy(text);
  const char* end = strptime(copy.c_str(), format, &fields);
  if (end != copy.c_str() + copy.size()) return std::nullopt;
  const std::time_t seconds = std::mktime(&fields);
  if (seconds < 0 || seconds > kLatestBegin) return std::nullopt;
  return Clock::from_time_t(seconds);
}

/// The field of `spec` that holds a line break or a NUL, if any.
std::optional<std::string_view> field_with_control_characters(const JobSpec& spec) {
  const auto bad = [](std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return c == '\n' || c == '\r' || c == '\0'; });
  };
  const std::pair<std::string_view, const std::optional<std::string>*> fields[] = {
      {"--partition", &spec.partition},
      {"--account", &spec.account},
      {"--qos", &spec.qos},
      {"--nodelist", &spec.nodelist},
      {"--exclude", &spec.exclude},
      {"--gpus-per-node", &spec.gpus_per_node},
      {"--gres", &spec.gres},
      {"--constraint", &spec.constraint},
      {"--reservation", &spec.reservation},
      {"--dependency", &spec.dependency},
      {"--comment", &spec.comment},
      {"--output", &spec.output},
      {"--error", &spec.error}};
  if (bad(spec.name)) return "--job-name";
  if (bad(spec.work_dir)) return "--chdir";
  for (const auto& [flag, value] : fields) {
    if (*value && bad(**value)) return flag;
  }
  return std::nullopt;
}

}  // namespace

Result<NodeCount> parse_node_count(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto min = parse_unsigned(text.substr(0, dash));
  const auto max = dash == std::string_view::npos ? min : parse_unsigned(text.substr(dash + 1));
  if (!min || !max || *min == 0 || *min > *max || *max > kMaxHosts) {
    return fail(ErrorCode::kInvalidArgument, "write a number or MIN-MAX, e.g. 2 or 2-4",
                "number of nodes {} is malformed", quoted(text));
  }
  return NodeCount{static_cast<std::uint32_t>(*min), static_cast<std::uint32_t>(*max)};
}

Result<std::uint64_t> parse_memory_mb(std::string_view text) {
  std::string_view number = text;
  if (number.size() > 1 && (number.back() == 'B' || number.back() == 'b')) number.remove_suffix(1);
  char unit = 'M';
  if (!number.empty() && (number.back() < '0' || number.back() > '9')) {
    unit = number.back();
    number.remove_suffix(1);
  }
  const auto value = parse_unsigned(number);
  if (value && *value < (1ULL << 40)) {
    switch (unit) {
      case 'K':
      case 'k':
        return (*value + 1023) / 1024;
      case 'M':
      case 'm':
        return *value;
      case 'G':
      case 'g':
        return *value * 1024;
      case 'T':
      case 't':
        return *value * 1024 * 1024;
      default:
        break;
    }
  }
  return fail(ErrorCode::kInvalidArgument, "write a number and K, M, G or T, e.g. 64G",
              "memory size {} is malformed", quoted(text));
}

Result<WarnSignal> parse_warn_signal(std::string_view text) {
  WarnSignal signal;
  std::string_view rest = text;
  if (rest.starts_with("B:")) {
    signal.batch_only = true;
    rest.remove_prefix(2);
  }
  const std::size_t at = rest.find('@');
  const auto number = signal_number(rest.substr(0, at));
  const auto seconds = at == std::string_view::npos ? std::optional<std::uint64_t>(60)
                                                    : parse_unsigned(rest.substr(at + 1));
  if (!number || !seconds || *seconds > 65535) {
    return fail(ErrorCode::kInvalidArgument,
                "write [B:]SIGNAL[@SECONDS] with at most 65535 seconds, e.g. B:USR1@120",
                "signal {} is malformed", quoted(text));
  }
  signal.number = *number;
  signal.seconds_before = static_cast<std::uint16_t>(*seconds);
  return signal;
}

std::string format_warn_signal(const WarnSignal& signal) {
  return fmt::format("{}{}@{}", signal.batch_only ? "B:" : "", signal.number,
                     signal.seconds_before);
}

Result<Clock::time_point> parse_begin_time(std::string_view text, Clock::time_point now) {
  if (text == "now") return now;
  if (text.starts_with("now+")) {
    if (const auto offset = parse_offset(text.substr(4))) return now + *offset;
  } else {
    for (const char* format : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
      if (const auto time = parse_local(text, format, now)) return *time;
    }
    for (const char* format : {"%H:%M:%S", "%H:%M"}) {
      if (const auto time = parse_local(text, format, now)) {
        return *time < now ? *time + std::chrono::hours(24) : *time;
      }
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              "write now+2hours, 10:00, 2026-02-03 or 2026-02-03T10:00:00",
              "begin time {} is malformed", quoted(text));
}

Status validate(const JobSpec& spec) {
  if (!spec.script.starts_with("#!")) {
    return fail(ErrorCode::kInvalidArgument, "begin the script with #!/bin/bash",
                "job \"{}\": the batch script has no interpreter line", spec.name);
  }
  if (spec.script.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "remove it", "job \"{}\": the script holds a NUL byte",
                spec.name);
  }
  if (!spec.work_dir.starts_with('/')) {
    return fail(ErrorCode::kInvalidArgument, "give an absolute path that exists on all nodes",
                "job \"{}\": the working directory \"{}\" is not absolute", spec.name,
                spec.work_dir);
  }
  if (spec.environment.empty()) {
    return fail(ErrorCode::kInvalidArgument, "pass at least PATH",
                "job \"{}\": the environment is empty", spec.name);
  }
  for (const std::string& entry : spec.environment) {
    const std::size_t equals = entry.find('=');
    if (equals == 0 || equals == std::string::npos || entry.find('\0') != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, "pass NAME=value",
                  "job \"{}\": an environment entry has no name", spec.name);
    }
  }
  if (const auto field = field_with_control_characters(spec)) {
    return fail(ErrorCode::kInvalidArgument, "remove it",
                "job \"{}\": {} holds a line break or a NUL byte", spec.name, *field);
  }
  if (spec.comment && spec.comment->size() > kMaxCommentBytes) {
    return fail(ErrorCode::kInvalidArgument, "shorten it",
                "job \"{}\": the comment has {} bytes, Slurm takes {}", spec.name,
                spec.comment->size(), kMaxCommentBytes);
  }
  if (spec.nodelist) DSL_TRY(expand_hostlist(*spec.nodelist));
  if (spec.exclude) DSL_TRY(expand_hostlist(*spec.exclude));
  return {};
}

}  // namespace dsl::slurm
