// What ranks report through the rendezvous (docs/process-contract.md), read from JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "launcher/deployment/record.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct LoadReport {
  std::int64_t bytes = 0;
  std::int64_t total = 0;
};

struct ReadyReport {
  std::string endpoint;  // rank 0 only
  std::vector<LinkRecord> links;
  PathRecord path;
  std::int64_t resident_bytes = 0;
};

/// An event that this version does not know.
struct OtherReport {};

using RankReport = std::variant<LoadReport, ReadyReport, OtherReport>;

/// kProtocol when the text is not a report.
Result<RankReport> parse_report(int rank, std::string_view json);

}  // namespace dsl::launcher
