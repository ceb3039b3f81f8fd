// Time limits in the notations of `sbatch --time`.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "transport/base/error.h"

namespace dsl::slurm {

/// A limit in whole minutes, the unit of Slurm's scheduler.
struct TimeLimit {
  std::optional<std::uint32_t> minutes;  // none: unlimited
  auto operator<=>(const TimeLimit&) const = default;
};

/// Reads "minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours", "days-hours:minutes",
/// "days-hours:minutes:seconds", "UNLIMITED", "INFINITE" and "-1". Seconds round up to a minute, as
/// in sbatch. Fails with kInvalidArgument.
Result<TimeLimit> parse_time_limit(std::string_view text);

/// "[days-]hours:minutes:00" or "UNLIMITED"; sbatch and parse_time_limit read it back.
std::string format_time_limit(TimeLimit limit);

}  // namespace dsl::slurm
