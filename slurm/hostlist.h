// Slurm's notation for sets of hosts, e.g. "gpu[01-04,7]-ib": parser and formatter.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::slurm {

/// Enough for any cluster; a hostile list such as "n[0-999999999]" is refused instead of expanded.
inline constexpr std::size_t kMaxHosts = 65536;

/// Expands a hostlist in the order written, repetitions kept. Knows several brackets per name
/// ("r[0-1]n[0-3]"), suffixes ("n[1-2]-ib") and zero padding ("n[08-10]"). Fails with
/// kInvalidArgument on malformed lists, reversed ranges and more than kMaxHosts hosts.
Result<std::vector<std::string>> expand_hostlist(std::string_view list);

/// A notation that expands to the same hosts in the same order: {"n1","n2","n4"} gives "n[1-2,4]".
/// Only trailing numbers are folded, because Slurm itself refuses a suffix after a bracket.
std::string format_hostlist(const std::vector<std::string>& hosts);

}  // namespace dsl::slurm
