#include "slurm/time_limit.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "slurm/quoted.h"

namespace dsl::slurm {
namespace {

// Slurm's INFINITE is 2^32-1 and NO_VAL 2^32-2; a century is more than anyone means.
constexpr std::uint64_t kMaxMinutes = 100ULL * 366 * 24 * 60;

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::toupper(static_cast<unsigned char>(x)) == y;
  });
}

tl::unexpected<Error> malformed(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument,
              "write minutes, hours:minutes:seconds, days-hours:minutes:seconds or UNLIMITED",
              "time limit {} is malformed", quoted(text));
}

/// One to three numbers between colons. Returns how many, or nothing.
std::optional<std::size_t> parse_fields(std::string_view text,
                                        std::array<std::uint64_t, 3>& fields) {
  std::size_t count = 0;
  while (true) {
    if (count == fields.size()) return std::nullopt;
    const std::size_t colon = text.find(':');
    const std::string_view field = text.substr(0, colon);
    const auto [end, error] =
        std::from_chars(field.data(), field.data() + field.size(), fields[count]);
    if (field.empty() || error != std::errc() || end != field.data() + field.size() ||
        fields[count] > kMaxMinutes) {
      return std::nullopt;
    }
    ++count;
    if (colon == std::string_view::npos) return count;
    text.remove_prefix(colon + 1);
  }
}

}  // namespace

Result<TimeLimit> parse_time_limit(std::string_view text) {
  if (text == "-1" || equals_ignoring_case(text, "UNLIMITED") ||
      equals_ignoring_case(text, "INFINITE")) {
    return TimeLimit{};
  }
  std::uint64_t days = 0;
  std::string_view clock = text;
  const std::size_t dash = text.find('-');
  std::array<std::uint64_t, 3> fields{};
  if (dash != std::string_view::npos) {
    const auto count = parse_fields(text.substr(0, dash), fields);
    if (!count || *count != 1) return malformed(text);
    days = fields[0];
    clock = text.substr(dash + 1);
  }
  const auto count = parse_fields(clock, fields);
  if (!count) return malformed(text);

  std::uint64_t hours = 0, minutes = 0, seconds = 0;
  if (dash != std::string_view::npos) {
    hours = fields[0];
    if (*count > 1) minutes = fields[1];
    if (*count > 2) seconds = fields[2];
  } else if (*count == 3) {
    hours = fields[0], minutes = fields[1], seconds = fields[2];
  } else {
    minutes = fields[0];
    if (*count == 2) seconds = fields[1];
  }
  const std::uint64_t total = (days * 24 + hours) * 60 + minutes + (seconds + 59) / 60;
  if (total > kMaxMinutes) return malformed(text);
  if (total == 0) return TimeLimit{};  // sbatch: zero imposes no limit
  return TimeLimit{static_cast<std::uint32_t>(total)};
}

std::string format_time_limit(TimeLimit limit) {
  if (!limit.minutes) return "UNLIMITED";
  const std::uint32_t days = *limit.minutes / (24 * 60);
  const std::uint32_t hours = *limit.minutes / 60 % 24;
  const std::uint32_t minutes = *limit.minutes % 60;
  if (days > 0) return fmt::format("{}-{:02}:{:02}:00", days, hours, minutes);
  return fmt::format("{:02}:{:02}:00", hours, minutes);
}

}  // namespace dsl::slurm
